package httpserve

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/autorestart-go/autorestart/httpserve/internal/goaway"
	"github.com/autorestart-go/autorestart/internal/httpconn"
)

// conn is a connection that an [http.Server] has accepted.
type conn struct {
	net.Conn
	tls       *tls.Conn     // nil if the connection is plain
	transport net.Conn      // Conn, or the connection below TLS
	socket    httpconn.Conn // transport, if it is of package sockets; or nil
	mayPark   bool          // between requests
	http2     *goaway.Group // that the connection is in if it is grouped

	mu                sync.Mutex
	state             http.ConnState
	since             time.Time // when it got into that state
	handled           time.Time // when the last handler returned; zero if that makes no difference
	readAhead         bool      // data has arrived after that, but before the connection was idle
	pipelined         bool      // the last request had arrived before the handler of the one before returned
	protocol          protocol
	handshaking       bool   // not known to have ended the handshake
	awaitingHandshake bool   // a goroutine finds out
	closing           bool   // no further request is served
	hijacked          bool   // the program has taken it over
	changed           func() // reports that handshaking may have changed
}

type protocol int

const (
	unknown protocol = iota
	http1
	http2
)

func newConn(nc net.Conn, mayPark bool, changed func()) *conn {
	c := &conn{Conn: nc, transport: nc, since: time.Now(), changed: changed}
	if t, ok := nc.(*tls.Conn); ok {
		c.tls, c.transport, c.handshaking = t, t.NetConn(), true
	}
	if s := httpconn.Of(c.transport); s != nil {
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
			lastRead, _ := c.socket.LastRead()
			c.readAhead = !c.handled.IsZero() && lastRead.After(c.handled)
			c.socket.BetweenRequests(c.mayPark)
		} else {
			lastRead, _ := c.socket.LastRead()
			c.pipelined = lastRead.Before(c.handled)
			c.socket.RequestStarted()
		}
	}
}

// setHijacked is called when the program has taken the connection over.
func (c *conn) setHijacked() {
	c.mu.Lock()
	c.hijacked = true // the state stays active: the connection is not closed between requests
	c.mu.Unlock()
	if c.socket != nil {
		c.socket.Hijacked()
	}
}

// isActive reports whether the connection serves a request, or one has begun to arrive.
func (c *conn) isActive() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state == http.StateActive
}

// requestHandled is called when a handler has returned.
func (c *conn) requestHandled() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.handled = time.Now()
}

// halfClose makes Close close the writing side only. A client that is still sending can
// then read the last response or GOAWAY.
func (c *conn) halfClose() {
	if c.socket != nil {
		c.socket.SetHalfClose()
	}
}

// snapshot returns what the timeout of the connection depends on, in a restart that
// began at drainStart. If the connection is grouped, package goaway closes it.
func (c *conn) snapshot(drainStart time.Time, grouped bool) snapshot {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := snapshot{
		grouped:     grouped,
		state:       c.state,
		tls:         c.tls != nil,
		protocol:    c.protocol,
		since:       c.since,
		drainStart:  drainStart,
		handshaking: c.handshaking,
	}
	if c.socket != nil {
		s.mayCross = c.mayPark && c.socket.MayCross()
		s.keptAt = c.socket.KeptAt()
		s.readsKnown = true
		s.lastRead, s.started = c.socket.LastRead()
		s.started = s.started || c.state == http.StateIdle && c.readAhead
		s.pipelined = c.pipelined
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

// timeoutAnswer is for a client that has sent the beginning of a request. The server has not
// begun to serve the request, so the client may send it again on another connection.
const timeoutAnswer = "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"

// answerTimeout limits how long timeoutAnswer takes.
const answerTimeout = 100 * time.Millisecond

// closeIfDue closes the connection if its timeout has passed, in a restart that began at
// drainStart. It returns how long the timeout takes otherwise.
func (c *conn) closeIfDue(drainStart time.Time, grouped bool) (left time.Duration) {
	left, _ = c.snapshot(drainStart, grouped).timeout(time.Now())
	if left > 0 {
		return left
	}
	if httpconn.Unread(c.transport) {
		return unreadDelay
	}
	// The server may have read something since the first snapshot.
	left, answer := c.snapshot(drainStart, grouped).timeout(time.Now())
	if left > 0 {
		return left
	}
	c.startClosing(answer)
	return noTimeout
}

// startClosing closes the connection unless it serves a request. With answer, the client gets
// timeoutAnswer first.
func (c *conn) startClosing(answer bool) (closing bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state == http.StateActive {
		return false
	}
	if !c.closing {
		c.closing = true
		go c.close(answer) // may block; TLS sends an alert
	}
	return true
}

func (c *conn) close(answer bool) {
	c.halfClose()
	if answer {
		c.SetWriteDeadline(time.Now().Add(answerTimeout))
		io.WriteString(c, timeoutAnswer)
	}
	c.Close()
}

// isEndedByResponse reports whether the connection has to end with the response to the
// present request, in a restart that began at drainStart. If it has read nothing since, the
// request may have been sent together with others, and the server has those: it drops what it
// has read beyond a request that ends the connection. Without a further request, the connection is
// idle then, and soon closed.
func (c *conn) isEndedByResponse(drainStart time.Time) bool {
	if c.socket == nil {
		return true
	}
	if c.mayPark && c.socket.WillPark() {
		return false
	}
	lastRead, _ := c.socket.LastRead()
	return lastRead.After(drainStart)
}

// isClosing reports whether the connection is being closed. Then a request that has
// arrived at the last moment must not be served: its client can't get the response, and may
// send the request again.
func (c *conn) isClosing() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closing
}
