package goaway

import (
	"crypto/tls"
	"net"
	"sync"
	"time"
)

// hush is how long the server says nothing before the client is told to leave. It is
// for Go's [http.Transport]: between choosing a connection for a request and opening
// a stream, a GOAWAY makes it fail if the body can't be had again. A client begins
// requests when it has got responses, so there should be none just before.
const hush = 5 * time.Millisecond

// A conn is the server's end of an HTTP/2 connection: the plain side, if it is
// encrypted. It passes on what the server and the client say, and says between two
// frames of the server's what the farewell asks for.
//
// Reads come from one goroutine at a time, so do writes, as net/http has it; ours
// come between them.
type conn struct {
	net.Conn
	transport net.Conn // that Conn is on, or Conn itself
	group     *Group

	writing sync.Mutex // held while something is written, which may take its time

	mu       sync.Mutex // guards what follows; taken after writing, and not for long
	farewell farewell
	earliest time.Time   // that it may be closed at
	closing  *time.Timer // for that; nil until there is a time
}

// A secureConn lets the server find the http.Request.TLS.
type secureConn struct {
	*conn
	tls *tls.Conn
}

func (c secureConn) ConnectionState() tls.ConnectionState { return c.tls.ConnectionState() }

func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 && !c.received(p[:n]) {
		return 0, net.ErrClosed
	}
	return n, err
}

// received reports whether p is for the server to see.
func (c *conn) received(p []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.farewell.closed {
		return false
	}
	due := c.farewell.speaks() // somebody is about to, then
	if c.farewell.received(p) {
		c.considerIn(settle)
	}
	if !due && c.farewell.speaks() {
		go c.speak() // a reader that waits to write is how two ends block each other
	}
	return true
}

func (c *conn) Write(p []byte) (n int, err error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	for {
		m, err := c.Conn.Write(c.sendable(p[n:]))
		c.sent(p[n : n+m])
		n += m
		if err == nil {
			err = c.say()
		}
		if err != nil || n == len(p) {
			return n, err
		}
	}
}

func (c *conn) sendable(p []byte) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.farewell.sendable(p)
}

func (c *conn) sent(p []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.farewell.sent(p)
}

// say says what there is to say, if the server is between two frames. If it is not,
// the write that ends the frame does. c.writing is held.
func (c *conn) say() error {
	if c.tells() {
		time.Sleep(hush)
	}
	words := c.words()
	if words == nil {
		return nil
	}
	_, err := c.Conn.Write(words)
	return err
}

// tells reports whether the client is about to be told to leave.
func (c *conn) tells() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.farewell.speaks() && !c.farewell.told
}

// words returns what is to be said now, and has the connection closed if there is no
// answer to it.
func (c *conn) words() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	words := c.farewell.say()
	if words != nil && c.farewell.asked {
		c.considerIn(c.group.patience())
	}
	return words
}

// speak says what there is to say when it is not the server that writes.
func (c *conn) speak() {
	c.writing.Lock()
	defer c.writing.Unlock()
	if err := c.say(); err != nil {
		c.Conn.Close() // half a frame may be out
	}
}

// leave has the client told to leave, and the connection closed when it is at rest.
// It returns at once.
func (c *conn) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	due := c.farewell.speaks()
	c.farewell.leaving = true
	if !due && c.farewell.speaks() {
		go c.speak()
	}
}
