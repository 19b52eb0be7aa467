//go:build !autorestart_portable

package rollout

import (
	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/candidate"
	"github.com/autorestart-go/autorestart/internal/sys"
)

// statIn identifies the file that a path leads to inside of the root of a process. Before Linux 5.6 an absolute
// symbolic link leads to the root of this process.
func statIn(pid int, path string) (candidate.ID, error) {
	root, err := sys.Open(procFile(pid, "root"), unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return candidate.ID{}, err
	}
	defer root.Close()
	how := &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT}
	fd, err := sys.AboveStandard(sys.IgnoringEINTR(func() (int, error) { return unix.Openat2(root.Int(), path, how) }))
	if err == unix.ENOSYS || err == unix.EPERM { // EPERM is that of a seccomp filter
		st, err := sys.Stat(procFile(pid, "root") + path)
		return candidate.ID(st), err
	}
	if err != nil {
		return candidate.ID{}, err
	}
	f := fd.File(path)
	defer f.Close()
	st, err := sys.StatFile(f)
	return candidate.ID(st), err
}
