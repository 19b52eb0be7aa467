package handover

import "syscall"

// Of package syscall alone: with golang.org/x/sys this package would wait for the
// initialisation of that one, and of all packages before it in the alphabet.

func closeOnExec(fd int) { syscall.CloseOnExec(fd) }

func keepOnExec(fd int) {
	syscall.RawSyscall(syscall.SYS_FCNTL, uintptr(fd), syscall.F_SETFD, 0)
}

func closeDescriptor(fd int) { syscall.Close(fd) }

// crossed reports whether fd is open and not close-on-exec.
func crossed(fd int) bool {
	flags, _, errno := syscall.RawSyscall(syscall.SYS_FCNTL, uintptr(fd), syscall.F_GETFD, 0)
	return errno == 0 && flags&syscall.FD_CLOEXEC == 0
}

// duplicate returns another descriptor, close-on-exec and above the standard streams.
func duplicate(fd int) (int, error) {
	dup, _, errno := syscall.Syscall(syscall.SYS_FCNTL, uintptr(fd), syscall.F_DUPFD_CLOEXEC, 3)
	if errno != 0 {
		return -1, errno
	}
	return int(dup), nil
}
