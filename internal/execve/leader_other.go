//go:build !linux || autorestart_portable

package execve

import "errors"

// ErrNoThread is not returned on this system.
var ErrNoThread = errors.New("no thread is like the main one")

// AsLeader calls f: what belongs to one thread is left as it is.
func AsLeader(f func() error) error { return f() }

// RememberLeader does nothing.
func RememberLeader() {}

// PrepareExecutor does nothing.
func PrepareExecutor() {}
