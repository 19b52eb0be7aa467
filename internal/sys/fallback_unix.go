//go:build unix && (!linux || autorestart_portable)

package sys

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Duplicate returns another descriptor, close-on-exec and above the standard
// streams, of what fd has open. The caller owns it.
func Duplicate(fd int) (*FD, error) {
	// F_DUPFD_CLOEXEC does not exist on every Unix system.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD, firstAboveStandard)
	if err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	unix.CloseOnExec(dup)
	return NewFD(dup), nil
}

// MayExecute wraps access(2), which goes by the real IDs: not every system can go by the
// effective ones.
func MayExecute(path string) error { return unix.Access(path, unix.X_OK) }

// IDs returns those of this process.
func IDs() (uid, euid, gid, egid int, ok bool) {
	return unix.Getuid(), unix.Geteuid(), unix.Getgid(), unix.Getegid(), true
}
