package sockets

import (
	"net"
	"time"

	"github.com/autorestart-go/autorestart/internal/httpconn"
)

// tcpConn and unixConn are accepted connections. They embed those of package net, so
// that their other methods work, sendfile(2) included. The embedded connection lies
// one level deeper than the stream, whose methods of the same name therefore win.

type tcpConn struct {
	*stream
	embeddedTCP
}

type unixConn struct {
	*stream
	embeddedUnix
}

type (
	embeddedTCP  struct{ *net.TCPConn }
	embeddedUnix struct{ *net.UnixConn }
)

var (
	_ httpconn.Conn = (*tcpConn)(nil)
	_ httpconn.Conn = (*unixConn)(nil)
)

func newConn(s *stream, ka keepAlive) net.Conn {
	switch conn := s.socket.(type) {
	case *net.TCPConn:
		ka.apply(conn)
		return &tcpConn{s, embeddedTCP{conn}}
	case *net.UnixConn:
		return &unixConn{s, embeddedUnix{conn}}
	}
	panic("unreachable") // package net has no others for these networks
}

// keepAlive contains the settings of a [net.ListenConfig] for accepted connections. An
// inherited listener of package net does not have them.
type keepAlive struct {
	period time.Duration
	config net.KeepAliveConfig
}

func (k keepAlive) apply(conn *net.TCPConn) {
	switch {
	case k.config.Enable:
		conn.SetKeepAliveConfig(k.config)
	case k.period < 0:
		conn.SetKeepAlive(false)
	case k.period > 0:
		conn.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: k.period})
	}
}
