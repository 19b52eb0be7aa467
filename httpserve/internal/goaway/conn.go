package goaway

import (
	"crypto/tls"
	"net"
	"sync"
	"time"
)

// goAwayDelay is a pause in the server's frames before the GOAWAY. It is for Go's
// [http.Transport]: a GOAWAY that arrives after a connection was chosen for a request and
// before the stream is opened makes the request fail if its body can't be read again. Most
// clients send requests when they have received responses, so few are in that state after
// a pause.
const goAwayDelay = 5 * time.Millisecond

// A conn is the server's end of an HTTP/2 connection, the plain side if it is encrypted.
// It passes on what the server and the client send, and inserts the frames of the
// shutdown between two frames of the server.
//
// net/http reads from one goroutine at a time, and writes from one at a time.
type conn struct {
	net.Conn
	transport net.Conn // below Conn, or Conn itself
	group     *Group

	writing sync.Mutex // locked while something is written, which may block

	mu         sync.Mutex // protects what follows; locked after writing, and only shortly
	state      shutdownState
	earliest   time.Time   // time before which the connection is not closed
	latest     time.Time   // time after which it is closed unless a stream is open; set by shutDown
	writeBegan time.Time   // when the write that is under way began; zero if none is
	closeTimer *time.Timer // runs closeIfIdle; nil until earliest is set
}

// A secureConn lets the server find http.Request.TLS.
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

// received reports whether the server gets p.
func (c *conn) received(p []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state.closed {
		return false
	}
	pending := c.state.hasPending() // then another goroutine is about to write them
	if c.state.received(p) {
		c.closeAfter(c.group.settleTime())
	}
	if !pending && c.state.hasPending() {
		go c.flushPending() // if a reader waited for a write, two ends could block each other
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
			err = c.writePending()
		}
		if err != nil || n == len(p) {
			return n, err
		}
	}
}

func (c *conn) sendable(p []byte) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writeBegan = time.Now()
	return c.state.sendable(p)
}

func (c *conn) sent(p []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writeBegan = time.Time{}
	served := !c.state.none()
	c.state.sent(p)
	if served && c.state.none() && c.state.requested {
		c.closeAfter(c.group.incompleteTimeout()) // otherwise an expired timer may come before the PING
	}
}

// writePending inserts pending frames if the server is between two of its own. If it is
// not, the write that ends its frame inserts them. c.writing is locked.
func (c *conn) writePending() error {
	if c.goAwayPending() {
		time.Sleep(goAwayDelay)
	}
	frames := c.takePending()
	if frames == nil {
		return nil
	}
	_, err := c.Conn.Write(frames)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writeBegan = time.Time{}
	return err
}

func (c *conn) goAwayPending() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state.hasPending() && !c.state.goAwaySent
}

// takePending returns the pending frames. If there is a PING among them, it starts the
// client's time to answer.
func (c *conn) takePending() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	frames := c.state.takePending()
	if frames != nil {
		c.writeBegan = time.Now()
	}
	if frames != nil && c.state.pinged {
		c.closeAfter(c.group.pingTimeout())
	}
	return frames
}

// flushPending inserts pending frames while the server itself does not write.
func (c *conn) flushPending() {
	c.writing.Lock()
	defer c.writing.Unlock()
	if err := c.writePending(); err != nil {
		c.Conn.Close() // half a frame may have been sent
	}
}

// shutDown begins the shutdown of the connection. It returns at once.
func (c *conn) shutDown() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state.requested {
		return
	}
	c.state.requested = true
	c.latest = time.Now().Add(c.group.incompleteTimeout())
	c.closeAfter(c.group.incompleteTimeout())
	if c.state.hasPending() {
		go c.flushPending()
	}
}
