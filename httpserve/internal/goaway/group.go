// Package goaway makes an [http.Server] close its HTTP/2 connections without losing a
// request, while it continues to serve.
//
// The server itself sends one GOAWAY, which names the last stream that it knows. It does
// not serve a request that crosses this frame on the wire. The client has to send the
// request again, and can't if the body was a stream. RFC 9113, section 6.8, describes
// the remedy: a first GOAWAY allows all streams, and makes the client open new ones on
// another connection. The server closes the connection a round trip later, when all
// streams are done.
//
// Nothing in net/http sends that first frame, so this package inserts it between two
// frames of the server. It wraps the functions in [http.Server.TLSNextProto], which serve
// the HTTP/2 connections.
package goaway

import (
	"net"
	"sync"
	"time"
)

// A Group contains the HTTP/2 connections of a server. Its fields must be set before the
// server serves.
type Group struct {
	// PingTimeout is how long a client has to answer a PING. A client that does not
	// answer is treated like one that has read the GOAWAY and has sent nothing since.
	// PingTimeout should be longer than a round trip. If zero, it is a second. The other
	// times that a client has in a shutdown are parts of it.
	PingTimeout time.Duration

	// Unread reports whether there is unread data for c. A connection with unread data is
	// not closed yet. c is a connection as the listener returned it, below TLS; it may be
	// closed already. If nil, there never is unread data.
	Unread func(c net.Conn) bool

	mu        sync.Mutex
	conns     map[net.Conn]*conn // by the connection that the listener returned
	goingAway bool
}

// GoAway sends GOAWAY on all connections, including those that are made before
// [Group.Resume]. Clients then open new streams on other connections. A connection serves
// the streams that its client opens all the same, and is closed when none is left. GoAway
// does not wait for that.
//
// The server must not close the connections in its own way at the same time: don't use
// [http.Server.SetKeepAlivesEnabled] or a header "Connection: close".
func (g *Group) GoAway() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.goingAway = true
	for _, c := range g.conns {
		c.shutDown()
	}
}

// Resume ends the effect of [Group.GoAway] on new connections. Connections that are being
// shut down are still closed.
func (g *Group) Resume() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.goingAway = false
}

// Len returns the number of connections.
func (g *Group) Len() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.conns)
}

// Has reports whether a connection, as the listener returned it, is in the group.
func (g *Group) Has(c net.Conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.conns[c] != nil
}

// Writing returns for how long a write to a connection, as the listener returned it, has not
// returned. It is zero if no write is under way.
func (g *Group) Writing(nc net.Conn) time.Duration {
	g.mu.Lock()
	c := g.conns[nc]
	g.mu.Unlock()
	if c == nil {
		return 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.writeBegan.IsZero() {
		return 0
	}
	return time.Since(c.writeBegan)
}

func (g *Group) add(c *conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.conns == nil {
		g.conns = make(map[net.Conn]*conn)
	}
	g.conns[c.Conn] = c
	if g.goingAway {
		// A client that could not send its first request would only connect again.
		time.AfterFunc(g.settleTime(), c.shutDown)
	}
}

func (g *Group) remove(c *conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.conns, c.Conn)
}

// defaultPingTimeout is the time that net/http allows for a round trip before it closes a
// connection.
const defaultPingTimeout = time.Second

func (g *Group) pingTimeout() time.Duration {
	if g.PingTimeout > 0 {
		return g.PingTimeout
	}
	return defaultPingTimeout
}
