//go:build !autorestart_portable

package standin

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

var forwarded = [...]os.Signal{
	syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGWINCH,
}

// Raise sends a signal to this process.
func Raise(sig syscall.Signal) { unix.Kill(unix.Getpid(), sig) }
