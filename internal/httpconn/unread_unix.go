//go:build unix && !aix

package httpconn

import (
	"net"
	"syscall"
)

func init() { Unread = peek }

// peek is [Unread] by recv(2). MSG_DONTWAIT keeps it from blocking, even on a socket that
// [os.File.Fd] has made blocking. AIX does not have that flag.
func peek(c net.Conn) bool {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	found := false
	raw.Control(func(fd uintptr) {
		var b [1]byte
		_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		found = err == nil
	})
	return found
}
