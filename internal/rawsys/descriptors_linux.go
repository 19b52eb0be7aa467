package rawsys

import "syscall"

// CloseOnExec fails only if fd is not open.
func CloseOnExec(fd int) { syscall.CloseOnExec(fd) }

// KeepOnExec has fd cross an exec, and reports whether it was close-on-exec.
func KeepOnExec(fd int) (was bool, err error) {
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

// Close closes fd.
func Close(fd int) { syscall.Close(fd) }

// Crossed reports whether fd is open and not close-on-exec.
func Crossed(fd int) bool {
	flags, _, errno := syscall.RawSyscall(syscall.SYS_FCNTL, uintptr(fd), syscall.F_GETFD, 0)
	return errno == 0 && flags&syscall.FD_CLOEXEC == 0
}

// Duplicate returns another descriptor, close-on-exec and above the standard streams.
func Duplicate(fd int) (int, error) {
	return IgnoringEINTR(func() (int, error) {
		dup, _, errno := syscall.Syscall(syscall.SYS_FCNTL, uintptr(fd), syscall.F_DUPFD_CLOEXEC, 3)
		if errno != 0 {
			return -1, errno
		}
		return int(dup), nil
	})
}
