// Package goaway has an [http.Server] give up its HTTP/2 connections without losing
// a request, and go on serving.
//
// The server's own way to do that is a GOAWAY that names the last stream it knows of.
// A request that crosses it on the wire is not served; the client has to send it
// again, and can't where the body was a stream. RFC 9113, section 6.8, has the cure:
// first a GOAWAY that allows all streams, for the client to open new ones elsewhere;
// a round trip later, when all streams are done, the connection is closed.
//
// Nothing in net/http sends that frame, so it is put between two frames of the
// server's. We come between by [http.Server.TLSNextProto], the functions that are
// given the HTTP/2 connections.
package goaway

import (
	"net"
	"sync"
	"time"
)

// A Group is the HTTP/2 connections of a server. Its fields are set before the
// server serves.
type Group struct {
	// Patience is for a client that does not answer: it is taken to have learned
	// that it should leave, and to have nothing on its way. It should exceed the
	// time of a round trip. If zero, it is a second.
	Patience time.Duration

	// Unread reports whether there is something to be read from c, a connection as
	// the listener returned it below TLS; it may have been closed meanwhile. If so,
	// we don't close it yet. If nil, there never is.
	Unread func(c net.Conn) bool

	mu        sync.Mutex
	conns     map[*conn]struct{}
	announced bool
}

// Announce has all clients told to open no new streams here: those of connections
// there are, and those of connections there will be until [Group.Resume]. Each
// connection serves what is sent even so, and is closed when it is at rest.
// Announce does not wait for that.
//
// The server must not be told to close them in its own way as well: by
// [http.Server.SetKeepAlivesEnabled] or a header "Connection: close".
func (g *Group) Announce() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.announced = true
	for c := range g.conns {
		c.leave()
	}
}

// Resume ends what [Group.Announce] began, for new connections: clients that were
// told to leave do leave.
func (g *Group) Resume() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.announced = false
}

// Len returns the number of connections.
func (g *Group) Len() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.conns)
}

func (g *Group) add(c *conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.conns == nil {
		g.conns = make(map[*conn]struct{})
	}
	g.conns[c] = struct{}{}
	if g.announced {
		// Not before the client could ask what it has come for: it would come back.
		time.AfterFunc(settle, c.leave)
	}
}

func (g *Group) remove(c *conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.conns, c)
}

func (g *Group) patience() time.Duration {
	if g.Patience > 0 {
		return g.Patience
	}
	return defaultPatience
}
