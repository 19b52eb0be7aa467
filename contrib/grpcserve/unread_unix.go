//go:build unix && !aix

package grpcserve

import (
	"net"
	"syscall"
)

func init() { unread = peek }

// peek is [unread] by recv(2). MSG_DONTWAIT keeps it from blocking, even on a socket that
// [os.File.Fd] has made blocking. AIX does not have that flag.
func peek(c net.Conn) bool {
	raw, err := syscallConn(c)
	if err != nil {
		return false
	}
	found := false
	raw.Control(func(fd uintptr) {
		var b [1]byte
		n, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		found = err == nil && n > 0
	})
	return found
}
