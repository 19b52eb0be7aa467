//go:build !autorestart_portable

package execve

import "syscall"

// CheckSize returns an error, which wraps E2BIG and says what is too long, if execve(2) will
// not take these arguments and this environment.
func CheckSize(path string, args, env []string) error {
	var stack syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_STACK, &stack) != nil {
		return nil // execve says it
	}
	return linuxLimit(uint64(stack.Cur), syscall.Getpagesize()).check(path, args, env)
}
