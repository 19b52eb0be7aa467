package handover

import "syscall"

// Of package syscall alone: golang.org/x/sys would have this package wait for its
// own initialisation, and every package before it in the alphabet go first.

func closeOnExec(fd int) { syscall.CloseOnExec(fd) }

func keepOnExec(fd int) {
	syscall.RawSyscall(syscall.SYS_FCNTL, uintptr(fd), syscall.F_SETFD, 0)
}
