package sockets

import (
	"net"
	"time"
)

// tcpConn and unixConn are accepted connections. They embed those of package net, so
// that what these can do works, as sendfile(2).

type tcpConn struct {
	*net.TCPConn
	s *stream
}

func (c *tcpConn) Read(b []byte) (int, error)        { return c.s.read(b) }
func (c *tcpConn) SetDeadline(t time.Time) error     { return c.s.setDeadline(t) }
func (c *tcpConn) SetReadDeadline(t time.Time) error { return c.s.setReadDeadline(t) }
func (c *tcpConn) Close() error                      { return c.s.close() }
func (c *tcpConn) Linger()                           { c.s.linger() }
func (c *tcpConn) AtBoundary(mayRest bool)           { c.s.atBoundary(mayRest) }
func (c *tcpConn) Begun()                            { c.s.requestBegun() }
func (c *tcpConn) Heard() (time.Time, bool)          { return c.s.heard() }

type unixConn struct {
	*net.UnixConn
	s *stream
}

func (c *unixConn) Read(b []byte) (int, error)        { return c.s.read(b) }
func (c *unixConn) SetDeadline(t time.Time) error     { return c.s.setDeadline(t) }
func (c *unixConn) SetReadDeadline(t time.Time) error { return c.s.setReadDeadline(t) }
func (c *unixConn) Close() error                      { return c.s.close() }
func (c *unixConn) Linger()                           { c.s.linger() }
func (c *unixConn) AtBoundary(mayRest bool)           { c.s.atBoundary(mayRest) }
func (c *unixConn) Begun()                            { c.s.requestBegun() }
func (c *unixConn) Heard() (time.Time, bool)          { return c.s.heard() }

// keepAlive is what a [net.ListenConfig] says of accepted connections. A listener
// that was inherited knows nothing of it.
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
