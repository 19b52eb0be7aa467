//go:build !linux

package grpcserve

import (
	"net"
	"time"
)

// setUserTimeout does nothing: package grpc sets the timeout on Linux only. The keepalive parameters
// work all the same, by pings of HTTP/2. TCP_USER_TIMEOUT ends a connection whose client does not
// acknowledge what is sent before such a ping does.
func setUserTimeout(net.Conn, time.Duration) {}
