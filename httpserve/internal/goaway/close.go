package goaway

import "time"

// settle is for a client that gave a stream its number, learned of the GOAWAY, and
// only then sent the stream.
const settle = 10 * time.Millisecond

// defaultPatience is what net/http takes for a round trip, for the same end.
const defaultPatience = time.Second

// considerIn has closing considered after d, instead of what was planned before.
// c.mu is held.
func (c *conn) considerIn(d time.Duration) {
	c.earliest = time.Now().Add(d)
	if c.closing == nil {
		c.closing = time.AfterFunc(d, c.consider)
		return
	}
	c.closing.Reset(d)
}

// consider closes the connection if it is at rest.
func (c *conn) consider() {
	unread := c.group.Unread != nil && c.group.Unread(c.transport)
	free := c.writing.TryLock()
	if free {
		defer c.writing.Unlock()
	}
	last, ok := c.decide(free && !unread)
	if !ok {
		return
	}
	// Should a stream have come after all, the client learns that it was not served:
	// it may send it again.
	c.SetWriteDeadline(time.Now().Add(settle))
	if _, err := c.Conn.Write(appendGoAway(nil, last)); err != nil {
		c.transport.Close() // else the goodbye of TLS would wait for seconds
	}
	c.Conn.Close()
}

// decide reports whether to close the connection. From then on the server gets to
// see nothing; the last stream it has seen is returned.
func (c *conn) decide(quiet bool) (last uint32, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case time.Now().Before(c.earliest):
		return 0, false // postponed while we were on our way
	case !c.farewell.atRest():
		return 0, false // the end of the last stream comes back here
	case !quiet || !c.farewell.whole():
		c.considerIn(settle)
		return 0, false
	}
	c.farewell.closed = true
	return c.farewell.last, true
}
