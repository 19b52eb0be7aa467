package sockets

import (
	"io"
	"math"
	"net"
	"time"
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

// WriteTo, unlike that of package net, begins with what the previous version has read.
func (c *tcpConn) WriteTo(w io.Writer) (n int64, err error) {
	if before := c.takeUnread(math.MaxInt); len(before) > 0 {
		written, err := w.Write(before)
		if err != nil {
			return int64(written), err
		}
		n = int64(written)
	}
	more, err := c.TCPConn.WriteTo(w)
	return n + more, err
}

// The following methods of unixConn do the same.

func (c *unixConn) ReadFrom(b []byte) (int, net.Addr, error) {
	if n := copy(b, c.takeUnread(len(b))); n > 0 {
		return n, nil, nil
	}
	return c.UnixConn.ReadFrom(b)
}

func (c *unixConn) ReadFromUnix(b []byte) (int, *net.UnixAddr, error) {
	if n := copy(b, c.takeUnread(len(b))); n > 0 {
		return n, nil, nil
	}
	return c.UnixConn.ReadFromUnix(b)
}

func (c *unixConn) ReadMsgUnix(b, oob []byte) (n, oobn, flags int, addr *net.UnixAddr, err error) {
	if n := copy(b, c.takeUnread(len(b))); n > 0 {
		return n, 0, 0, nil, nil
	}
	return c.UnixConn.ReadMsgUnix(b, oob)
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
