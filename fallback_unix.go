//go:build unix && (!linux || autorestart_portable)

package autorestart

import (
	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/candidate"
)

// mayExecute wraps access(2), which goes by the real IDs: not every system can go by
// the effective ones.
func mayExecute(path string) error { return unix.Access(path, unix.X_OK) }

// credentials returns those of this process, as far as its IDs say.
func credentials() candidate.Credentials {
	c := candidate.Credentials{EUID: uint32(unix.Geteuid())}
	c.Privileged = c.EUID == 0 || unix.Getuid() != unix.Geteuid() || unix.Getgid() != unix.Getegid()
	return c
}
