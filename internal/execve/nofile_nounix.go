//go:build !unix

package execve

import "syscall"

func limitToKeep() int { return 0 }

func keepLimit(int) {}

// execute fails: there is no exec.
func execute(path string, args, env []string, last func()) error {
	return syscall.Exec(path, args, env)
}
