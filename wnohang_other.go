//go:build unix && !aix && (!linux || autorestart_portable)

package autorestart

import "golang.org/x/sys/unix"

const wnohang = unix.WNOHANG
