//go:build !autorestart_portable

// Descriptors and files in memory.
//
//	call             since  without it
//	F_DUPFD_QUERY    6.10   kcmp(2)
//	KCMP_FILE        3.5    a file that may be a duplicate of a stored one is not kept, unless both are sockets
//	memfd_create     3.17   nothing is kept
//	SO_NETNS_COOKIE  5.14   a socket of a network that this process is not in is found, too

package fdstore

import (
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/crashlog"
	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/sys"
)

// now returns the time of CLOCK_MONOTONIC in nanoseconds: it goes on for as long as systemd can store files.
func now() int64 {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &t) != nil {
		return 0
	}
	return t.Nano()
}

// sameDescription reports whether two descriptors, of which the IDs are the same, are duplicates of one
// another, as systemd decides that. It fails if the kernel can't compare them, as in containers without kcmp(2).
func sameDescription(a, b int) (same bool, err error) {
	if _, err := unix.GetsockoptInt(a, unix.SOL_SOCKET, unix.SO_TYPE); err == nil {
		return true, nil // a socket has one description
	}
	const dupfdQuery = 1024 + 3
	if same, err := unix.FcntlInt(uintptr(a), dupfdQuery, b); err == nil {
		return same == 1, nil
	}
	const file = 0 // KCMP_FILE
	pid := uintptr(os.Getpid())
	order, _, errno := unix.Syscall6(unix.SYS_KCMP, pid, pid, file, uintptr(a), uintptr(b), 0)
	if errno != 0 {
		return false, os.NewSyscallError("kcmp", errno)
	}
	return order == 0, nil
}

// accessOf returns whether a descriptor is open for reading, for writing, or both.
func accessOf(fd int) (uint64, error) {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	return uint64(flags & unix.O_ACCMODE), os.NewSyscallError("fcntl", err)
}

// newMemory returns a file in memory that no process can truncate.
func newMemory() (*sys.FD, error) {
	n, err := handover.EmptyFile()
	if err != nil {
		return nil, err
	}
	if err := crashlog.Descriptor(n).Seal(); err != nil { // on a disk it can't be sealed
		sys.NewFD(n).Close()
		return nil, err
	}
	return sys.NewFD(n), nil
}

// OwnNetwork returns the number of the network namespace of this process, or 0 if it is not known. No other namespace
// has had it since the boot.
func OwnNetwork() uint64 {
	fd, err := sys.AboveStandard(unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0))
	if err != nil {
		return 0
	}
	defer fd.Close()
	return networkCookie(fd.Int())
}

// networkOf returns the number of the network namespace in which a socket has its address. It returns 0 if it is not
// known, and for the path of a Unix socket, which all network namespaces share.
func networkOf(fd int) uint64 {
	if a, err := unix.Getsockname(fd); err != nil {
		return 0
	} else if a, ok := a.(*unix.SockaddrUnix); ok && !strings.HasPrefix(a.Name, "@") {
		return 0
	}
	return networkCookie(fd)
}

func networkCookie(fd int) uint64 {
	cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	if err != nil {
		return 0
	}
	return cookie
}
