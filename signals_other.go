//go:build !linux || autorestart_portable

package autorestart

// Signals keep their default action during an exec.

func ignoreForExec([]int) (undo func()) { return func() {} }
func stopIgnoring(int)                  {}
