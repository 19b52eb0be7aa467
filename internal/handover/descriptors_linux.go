package handover

import "syscall"

// Of package syscall alone: with golang.org/x/sys this package would wait for the
// initialisation of that one, and of all packages before it in the alphabet.

func closeOnExec(fd int) { syscall.CloseOnExec(fd) }

func keepOnExec(fd int) {
	syscall.RawSyscall(syscall.SYS_FCNTL, uintptr(fd), syscall.F_SETFD, 0)
}
