package grpcserve

import (
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// setUserTimeout sets how long the kernel waits for the acknowledgement of data, see tcp(7). Package grpc
// sets it for a [net.TCPConn] only. A connection on which that fails works without it.
func setUserTimeout(c net.Conn, timeout time.Duration) {
	if c.LocalAddr().Network() != "tcp" {
		return
	}
	raw, err := syscallConn(c)
	if err != nil {
		return
	}
	raw.Control(func(fd uintptr) {
		unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(timeout/time.Millisecond))
	})
}
