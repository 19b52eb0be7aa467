//go:build unix

package sockets

import (
	"os"
	"syscall"
)

// hasExec is true where sockets can cross an exec.
const hasExec = true

// adoptSocket makes the inherited descriptor fd close-on-exec if it is a socket. If not,
// it returns an error and leaves the descriptor alone.
func adoptSocket(fd int) error {
	if _, err := syscall.GetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_TYPE); err != nil {
		return os.NewSyscallError("getsockopt", err)
	}
	syscall.CloseOnExec(fd)
	return nil
}
