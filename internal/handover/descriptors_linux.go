package handover

import "syscall"

// Of package syscall alone: with golang.org/x/sys this package would wait for the
// initialisation of that one, and of all packages before it in the alphabet.

// closeOnExec fails only if fd is not open.
func closeOnExec(fd int) { syscall.CloseOnExec(fd) }

// keepOnExec has fd cross an exec, and reports whether it was close-on-exec.
func keepOnExec(fd int) (was bool, err error) {
	flags, _, errno := syscall.RawSyscall(syscall.SYS_FCNTL, uintptr(fd), syscall.F_GETFD, 0)
	was = flags&syscall.FD_CLOEXEC != 0
	if errno == 0 && was {
		_, _, errno = syscall.RawSyscall(syscall.SYS_FCNTL, uintptr(fd), syscall.F_SETFD, 0)
	}
	if errno != 0 {
		return false, errno
	}
	return was, nil
}

func closeDescriptor(fd int) { syscall.Close(fd) }

// crossed reports whether fd is open and not close-on-exec.
func crossed(fd int) bool {
	flags, _, errno := syscall.RawSyscall(syscall.SYS_FCNTL, uintptr(fd), syscall.F_GETFD, 0)
	return errno == 0 && flags&syscall.FD_CLOEXEC == 0
}

// duplicate returns another descriptor, close-on-exec and above the standard streams.
func duplicate(fd int) (int, error) {
	return retryEINTR(func() (int, error) {
		dup, _, errno := syscall.Syscall(syscall.SYS_FCNTL, uintptr(fd), syscall.F_DUPFD_CLOEXEC, 3)
		if errno != 0 {
			return -1, errno
		}
		return int(dup), nil
	})
}
