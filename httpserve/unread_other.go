//go:build !unix || aix

package httpserve

import "net"

// unread is never asked where there is no exec, and has no answer on AIX, where
// looking into a socket might block.
func unread(net.Conn) bool { return false }
