//go:build unix && !linux

package rawsys

import "golang.org/x/sys/unix"

// CloseOnExec fails only if fd is not open.
func CloseOnExec(fd int) { unix.CloseOnExec(fd) }

// KeepOnExec has fd cross an exec, and reports whether it was close-on-exec.
func KeepOnExec(fd int) (was bool, err error) {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	if was = err == nil && flags&unix.FD_CLOEXEC != 0; was {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0)
	}
	return was && err == nil, err
}

// Close closes fd.
func Close(fd int) { unix.Close(fd) }

// Crossed reports whether fd is open and not close-on-exec.
func Crossed(fd int) bool {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	return err == nil && flags&unix.FD_CLOEXEC == 0
}

// Duplicate returns another descriptor, close-on-exec and above the standard streams.
func Duplicate(fd int) (int, error) {
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD, 3)
	if err == nil {
		unix.CloseOnExec(dup)
	}
	return dup, err
}
