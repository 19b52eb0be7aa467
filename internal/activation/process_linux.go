//go:build !autorestart_portable

// The process that has been announced.
//
//	call               since    without it
//	pidfd_open(2)      5.3      LISTEN_PID decides
//	pidfs              6.9      the same
//	/proc/self         ever     no sockets in a PID namespace of its own

package activation

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/sys"
)

func processOf(pid int, identify bool) process {
	p := process{pid: pid}
	if identify {
		p.id = pidfdID(pid)
	}
	self, _ := os.Readlink("/proc/self")
	p.procIsOwn = self == strconv.Itoa(os.Getpid())
	return p
}

// pidfdID returns 0 where an inode does not tell a process from all others: before pidfs, and with
// words of 32 bits.
func pidfdID(pid int) uint64 {
	n, err := unix.PidfdOpen(pid, 0)
	if err != nil || strconv.IntSize == 32 {
		return 0
	}
	fd := sys.NewFD(n)
	defer fd.Close()
	var fs unix.Statfs_t
	var st unix.Stat_t
	if unix.Fstatfs(n, &fs) != nil || int64(fs.Type) != unix.PID_FS_MAGIC || unix.Fstat(n, &st) != nil {
		return 0
	}
	return uint64(st.Ino)
}
