//go:build !linux || autorestart_portable

package execve

// AsLeader calls f: what belongs to one thread is left as it is.
func AsLeader(f func() error) error { return f() }

// RememberLeader does nothing.
func RememberLeader() {}

// PrepareExecutor does nothing.
func PrepareExecutor() error { return nil }

// LosesScheduling returns false: there is no filter.
func LosesScheduling() bool { return false }
