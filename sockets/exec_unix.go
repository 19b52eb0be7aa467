//go:build unix

package sockets

import (
	"os"
	"syscall"
)

// hasExec says that sockets can cross an exec.
const hasExec = true

// adoptSocket makes a descriptor that the process was started with close-on-exec. It
// fails, and leaves the descriptor alone, unless that is a socket.
func adoptSocket(fd int) error {
	if _, err := syscall.GetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_TYPE); err != nil {
		return os.NewSyscallError("getsockopt", err)
	}
	syscall.CloseOnExec(fd)
	return nil
}
