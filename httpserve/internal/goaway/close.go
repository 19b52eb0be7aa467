package goaway

import "time"

// settleTime is for a client that numbers a stream, reads the GOAWAY, and only then sends
// the stream.
const settleTime = 10 * time.Millisecond

// closeAfter calls closeIfIdle after d, instead of at the time that was set before. c.mu
// is locked.
func (c *conn) closeAfter(d time.Duration) {
	c.earliest = time.Now().Add(d)
	if c.closeTimer == nil {
		c.closeTimer = time.AfterFunc(d, c.closeIfIdle)
		return
	}
	c.closeTimer.Reset(d)
}

// closeIfIdle closes the connection if no stream is open and nothing is being transmitted.
func (c *conn) closeIfIdle() {
	unread := c.group.Unread != nil && c.group.Unread(c.transport)
	notWriting := c.writing.TryLock()
	if notWriting {
		defer c.writing.Unlock()
	}
	last, ok := c.decideToClose(notWriting && !unread)
	if !ok {
		return
	}
	// If a stream has arrived after all, this GOAWAY tells the client that it was not
	// served and may be sent again.
	c.SetWriteDeadline(time.Now().Add(settleTime))
	if _, err := c.Conn.Write(appendGoAway(nil, last)); err != nil {
		c.transport.Close() // otherwise Close waits seconds to send the alert of TLS
	}
	c.Conn.Close()
}

// decideToClose reports whether to close the connection. The server gets no data after
// that; last is the last stream that it has got.
func (c *conn) decideToClose(quiet bool) (last uint32, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case time.Now().Before(c.earliest):
		return 0, false // closeAfter was called after the timer had expired
	case !c.state.isIdle():
		return 0, false // the PING after the last stream calls closeAfter
	case !quiet || !c.state.betweenFrames():
		c.closeAfter(settleTime)
		return 0, false
	}
	c.state.closed = true
	return c.state.last, true
}
