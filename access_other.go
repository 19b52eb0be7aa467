//go:build unix && (!linux || autorestart_portable)

package autorestart

import "golang.org/x/sys/unix"

// mayExecute wraps access(2), which goes by the real IDs: not every system can
// go by the effective ones.
func mayExecute(path string, _ fileID) error {
	return unix.Access(path, unix.X_OK)
}

// privileges returns what this process may do beyond what its user may.
func privileges() credentials {
	c := credentials{euid: uint32(unix.Geteuid())}
	c.privileged = c.euid == 0 || unix.Getuid() != unix.Geteuid() || unix.Getgid() != unix.Getegid()
	return c
}
