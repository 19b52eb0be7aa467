//go:build !linux || autorestart_portable

package execve

// ForbidsMemfd returns false: there is no filter.
func ForbidsMemfd() bool { return false }
