package httpserve

import (
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/autorestart-go/autorestart/internal/httpconn"
)

// conn is a connection that an [http.Server] has accepted.
type conn struct {
	net.Conn
	tls       *tls.Conn     // nil if the connection is plain
	transport net.Conn      // Conn, or the connection below TLS
	socket    httpconn.Conn // transport, if it is of package sockets; or nil
	mayPark   bool          // between requests
	inGroup   bool          // the group of package goaway closes the connection if it is HTTP/2

	mu                sync.Mutex
	state             http.ConnState
	since             time.Time // when it got into that state
	protocol          protocol
	handshaking       bool // not known to have ended the handshake
	awaitingHandshake bool // a goroutine finds out
	closing           bool
	changed           func() // reports that handshaking may have changed
}

type protocol int

const (
	unknown protocol = iota
	http1
	http2
)

func newConn(nc net.Conn, mayPark, inGroup bool, changed func()) *conn {
	c := &conn{Conn: nc, transport: nc, inGroup: inGroup, since: time.Now(), changed: changed}
	if t, ok := nc.(*tls.Conn); ok {
		c.tls, c.transport, c.handshaking = t, t.NetConn(), true
	}
	if s, ok := c.transport.(httpconn.Conn); ok {
		c.socket, c.mayPark = s, mayPark && c.tls == nil
		s.BetweenRequests(c.mayPark)
	}
	return c
}

func (c *conn) setState(state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.protocol == unknown {
		c.protocol = http1
		if c.tls != nil && c.tls.ConnectionState().NegotiatedProtocol == "h2" {
			c.protocol = http2
		}
	}
	c.state, c.since = state, time.Now()
	if c.socket != nil {
		if state == http.StateIdle {
			c.socket.BetweenRequests(c.mayPark)
		} else {
			c.socket.RequestStarted()
		}
	}
}

// halfCloseIfHTTP2 makes Close of an HTTP/2 connection close the writing side only. A client
// that is still sending can then read the last GOAWAY.
func (c *conn) halfCloseIfHTTP2() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.protocol == http2 && c.socket != nil {
		c.socket.SetHalfClose()
	}
}

// snapshot returns what the timeout of the connection depends on, in a restart that
// began at drainStart.
func (c *conn) snapshot(drainStart time.Time) snapshot {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := snapshot{
		exempt:      c.mayPark || c.inGroup && c.protocol == http2,
		state:       c.state,
		tls:         c.tls != nil,
		protocol:    c.protocol,
		since:       c.since,
		drainStart:  drainStart,
		handshaking: c.handshaking,
	}
	if c.socket != nil {
		s.lastRead, s.started = c.socket.LastRead()
	}
	if s.started && c.state == http.StateNew && c.tls != nil && !c.awaitingHandshake {
		c.awaitingHandshake = true
		go c.awaitHandshake()
	}
	return s
}

// awaitHandshake waits for the end of the handshake: ConnectionState blocks until then.
// In HTTP/2 the client's next message is still part of it.
func (c *conn) awaitHandshake() {
	state := c.tls.ConnectionState()
	c.mu.Lock()
	c.handshaking = !state.HandshakeComplete || state.NegotiatedProtocol == "h2"
	c.awaitingHandshake = state.HandshakeComplete
	c.mu.Unlock()
	c.changed()
}

// closeIfAllRead closes the connection unless the kernel has unread data for it.
func (c *conn) closeIfAllRead() (closed bool) {
	if unread(c.transport) {
		return false
	}
	c.mu.Lock()
	first := !c.closing
	c.closing = true
	c.mu.Unlock()
	if first {
		if c.socket != nil {
			c.socket.SetHalfClose()
		}
		go c.Close() // TLS sends an alert first, which may block
	}
	return true
}
