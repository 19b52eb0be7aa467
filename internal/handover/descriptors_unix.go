//go:build unix && !linux

package handover

import "golang.org/x/sys/unix"

// closeOnExec fails only if fd is not open.
func closeOnExec(fd int) { unix.CloseOnExec(fd) }

// keepOnExec has fd cross an exec, and reports whether it was close-on-exec.
func keepOnExec(fd int) (was bool, err error) {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	if was = err == nil && flags&unix.FD_CLOEXEC != 0; was {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0)
	}
	return was && err == nil, err
}

func closeDescriptor(fd int) { unix.Close(fd) }

// crossed reports whether fd is open and not close-on-exec.
func crossed(fd int) bool {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	return err == nil && flags&unix.FD_CLOEXEC == 0
}

// duplicate returns another descriptor, close-on-exec and above the standard streams.
func duplicate(fd int) (int, error) {
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD, 3)
	if err == nil {
		unix.CloseOnExec(dup)
	}
	return dup, err
}
