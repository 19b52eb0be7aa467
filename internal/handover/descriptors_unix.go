//go:build unix && !linux

package handover

import "golang.org/x/sys/unix"

func closeOnExec(fd int) { unix.CloseOnExec(fd) }

func keepOnExec(fd int) { unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0) }

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
