package httpserve

import (
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"time"
)

// conn is a connection of a server, as far as is known of it.
type conn struct {
	net.Conn
	tls       *tls.Conn // nil: plain
	transport net.Conn  // below TLS
	socket    socketConn
	mayRest   bool // between requests, instead of being closed
	grouped   bool // others close it, if it is one of HTTP/2

	mu          sync.Mutex
	state       http.ConnState
	since       time.Time // it has been in that state
	protocol    protocol
	handshaking bool // as far as is known
	asked       bool // whether it is
	closing     bool
	changed     func()
}

type protocol int

const (
	unknown protocol = iota
	http1
	http2
)

// socketConn is a connection of package sockets.
type socketConn interface {
	// AtBoundary says that what is read from now on is the next request, and whether
	// the connection may rest there.
	AtBoundary(mayRest bool)

	// Begun says that the next request has begun.
	Begun()

	// Heard returns when something was read, and whether that was since the last
	// boundary.
	Heard() (last time.Time, since bool)

	// Linger has Close wait until the client has closed, without waiting itself.
	Linger()
}

func newConn(nc net.Conn, mayRest, grouped bool, changed func()) *conn {
	c := &conn{Conn: nc, transport: nc, grouped: grouped, since: time.Now(), changed: changed}
	if t, ok := nc.(*tls.Conn); ok {
		c.tls, c.transport, c.handshaking = t, t.NetConn(), true
	}
	if s, ok := c.transport.(socketConn); ok {
		c.socket, c.mayRest = s, mayRest && c.tls == nil
		s.AtBoundary(c.mayRest)
	}
	return c
}

func (c *conn) set(state http.ConnState) {
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
			c.socket.AtBoundary(c.mayRest)
		} else {
			c.socket.Begun()
		}
	}
}

// lingerIfHTTP2 has a client that sends what crosses the last GOAWAY read it first.
func (c *conn) lingerIfHTTP2() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.protocol == http2 && c.socket != nil {
		c.socket.Linger()
	}
}

func (c *conn) view(drain time.Time) view {
	c.mu.Lock()
	defer c.mu.Unlock()
	v := view{state: c.state, notOurs: c.mayRest || c.grouped && c.protocol == http2, tls: c.tls != nil, protocol: c.protocol, since: c.since, drain: drain, handshaking: c.handshaking}
	if c.socket != nil {
		v.heard, v.underWay = c.socket.Heard()
	}
	if v.underWay && c.state == http.StateNew && c.tls != nil && !c.asked {
		c.asked = true
		go c.awaitHandshake()
	}
	return v
}

// awaitHandshake finds out that the handshake is over: what asks for the outcome
// waits for it. To HTTP/2 belongs what the client says next.
func (c *conn) awaitHandshake() {
	state := c.tls.ConnectionState()
	c.mu.Lock()
	c.handshaking = !state.HandshakeComplete || state.NegotiatedProtocol == "h2"
	c.asked = state.HandshakeComplete
	c.mu.Unlock()
	c.changed()
}

// closeIfQuiet closes the connection unless there is something to read.
func (c *conn) closeIfQuiet() bool {
	if unread(c.transport) {
		return false
	}
	c.mu.Lock()
	first := !c.closing
	c.closing = true
	c.mu.Unlock()
	if first {
		if c.socket != nil {
			c.socket.Linger()
		}
		go c.Close() // TLS has something to say before, and may wait
	}
	return true
}
