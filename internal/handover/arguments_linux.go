//go:build !autorestart_portable

package handover

import "syscall"

// CheckSize returns an error, which wraps E2BIG and says what is too long, if execve(2) will
// not take these arguments and this environment. It adds the variable of the handover.
func CheckSize(path string, args, env []string) error {
	var stack syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_STACK, &stack) != nil {
		return nil // execve says it
	}
	if Tainted() {
		env = withoutUnsafe(env)
	}
	var s State
	s.Set(PID, syscall.Getpid())
	s.Set(Carrier, 3)
	env = append(env[:len(env):len(env)], Env+"="+s.String())
	return linuxLimit(uint64(stack.Cur), syscall.Getpagesize()).check(path, args, env)
}
