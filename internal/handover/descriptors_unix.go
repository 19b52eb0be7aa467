//go:build unix && !linux

package handover

import "golang.org/x/sys/unix"

func closeOnExec(fd int) { unix.CloseOnExec(fd) }

func keepOnExec(fd int) { unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0) }

func closeDescriptor(fd int) { unix.Close(fd) }

// duplicate returns another descriptor, close-on-exec and above the standard streams.
func duplicate(fd int) (int, error) {
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD, 3)
	if err == nil {
		unix.CloseOnExec(dup)
	}
	return dup, err
}
