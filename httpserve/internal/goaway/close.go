package goaway

import "time"

// settleTime is for a client that numbers a stream, reads the GOAWAY, and only then sends
// the stream.
func (g *Group) settleTime() time.Duration { return g.pingTimeout() / 100 }

// incompleteTimeout is for a client that has sent the beginning of a frame or of a header
// block, and for one that does not read what is sent to it. It runs from the beginning of
// the shutdown.
func (g *Group) incompleteTimeout() time.Duration { return g.pingTimeout() / 2 }

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

// closeIfIdle closes the connection if no stream is open and nothing is being transmitted,
// or will be in time.
func (c *conn) closeIfIdle() {
	unread := c.group.Unread != nil && c.group.Unread(c.transport)
	notWriting := c.writing.TryLock()
	if notWriting {
		defer c.writing.Unlock()
	}
	last, ok := c.decideToClose(notWriting, unread)
	if !ok {
		return
	}
	if !notWriting {
		c.transport.Close()
		return
	}
	// If a stream has arrived after all, this GOAWAY tells the client that it was not
	// served and may be sent again.
	c.SetWriteDeadline(time.Now().Add(c.group.settleTime()))
	if _, err := c.Conn.Write(appendGoAway(nil, last)); err != nil {
		c.transport.Close() // otherwise Close waits seconds to send the alert of TLS
	}
	c.Conn.Close()
}

// decideToClose reports whether to close the connection. The server gets no data after
// that; last is the last stream that it has got.
func (c *conn) decideToClose(notWriting, unread bool) (last uint32, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	late := !now.Before(c.latest)
	s := &c.state
	switch {
	case s.closed:
		return 0, false
	case now.Before(c.earliest):
		return 0, false // closeAfter was called after the timer had expired
	case !s.none():
		c.closeAfter(c.group.incompleteTimeout()) // the PING after the last stream sets another time
		return 0, false
	case unread,
		notWriting && !(s.isIdle() && s.out.betweenFrames()), // then frames are about to be written
		!late && !(notWriting && s.in.betweenFrames()):
		c.closeAfter(c.group.settleTime())
		return 0, false
	}
	s.closed = true
	return s.last, true
}

// end is called when the server does not use the connection any more.
func (c *conn) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state.closed = true
	if c.closeTimer != nil {
		c.closeTimer.Stop()
	}
}
