package sockets

import (
	"context"
	"slices"
	"time"

	"github.com/autorestart-go/autorestart/internal/httpconn"
	"github.com/autorestart-go/autorestart/internal/image"
	"github.com/autorestart-go/autorestart/internal/sys"
)

func (s *stream) of() *listener { return s.listener }

// startGiving implements [givable].
func (s *stream) startGiving() (c image.Conn, duplicate *sys.FD, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.parked || !s.held || s.closed || s.pinned {
		return image.Conn{}, nil, false
	}
	as, state := s.parkedKind()
	withDescriptor(s.socket, func(fd int) { duplicate, _ = sys.Duplicate(fd) })
	s.pinned = true
	return givenConn(s.listener.connectionKey(as), state, duplicate), duplicate, true
}

// givenConn returns what the other process gets.
func givenConn(k key, state []byte, fd *sys.FD) image.Conn {
	c := image.Conn{Key: k.String(), State: state, FD: -1}
	if fd != nil {
		c.FD = fd.Int()
	}
	return c
}

// endGiving implements [givable].
func (s *stream) endGiving(given bool) {
	s.mu.Lock()
	switch {
	case given:
		s.closed, s.parked = true, false // it is not counted
		s.stopPassing()
		s.mu.Unlock()
		s.closeSocket()
		s.mu.Lock()
		s.unpin()
	case s.closed:
		s.unpin()
		s.unlockAndClose()
		return
	default:
		s.passParked() // again, after unpass
		s.unpin()
	}
	s.mu.Unlock()
}

// hasRequest implements [givable]. The client has sent something, or has closed the connection.
func (s *stream) hasRequest() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.started = s.started || httpconn.Unread(s.socket) // before the reader gets it
	return s.started || len(s.beginning.bytes()) > 0
}

// keep implements [givable].
func (s *stream) keep() (kept bool) {
	s.mu.Lock()
	s.keptAt = time.Now()
	s.release()
	s.mu.Unlock()
	s.await(context.Background(), func() bool { return !s.parked }) // nothing else holds the reader
	return true
}

// unpass implements [givable].
func (s *stream) unpass() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pinned {
		s.stopPassing()
	}
}

// A waitingConn is a connection that a listener has not accepted yet, as a [givable].
type waitingConn struct {
	*inheritedConn
	listener *listener
}

// offerWaiting offers what the listener has not accepted yet.
func (l *listener) offerWaiting() {
	l.mu.Lock()
	waiting := slices.Concat(l.newcomers, l.inheritedConns)
	l.mu.Unlock()
	for _, c := range waiting {
		l.offer(waitingConn{c, l})
	}
}

func (c waitingConn) of() *listener { return c.listener }

// startGiving implements [givable]. The connection is pinned while it waits nowhere.
func (c waitingConn) startGiving() (given image.Conn, duplicate *sys.FD, ok bool) {
	l := c.listener
	l.mu.Lock()
	defer l.mu.Unlock()
	queue := l.waiting(c.key.kind)
	i := slices.Index(*queue, c.inheritedConn)
	if i < 0 || !l.held {
		return image.Conn{}, nil, false
	}
	*queue = slices.Delete(*queue, i, i+1)
	c.pinned = true
	duplicate, _ = sys.Duplicate(c.fd)
	return givenConn(c.key, c.begun, duplicate), duplicate, true
}

// endGiving implements [givable].
func (c waitingConn) endGiving(given bool) {
	l := c.listener
	l.mu.Lock()
	c.pinned = false
	if given {
		l.mu.Unlock()
		c.close()
		return
	}
	if c.unpassed {
		c.unpassed = false
		c.pass()
	}
	queue := l.waiting(c.key.kind)
	*queue = slices.Insert(*queue, 0, c.inheritedConn)
	l.wakeUp()
	l.mu.Unlock()
	l.closeInheritedIfClosed()
	l.interrupt()
}

// hasRequest implements [givable]. A client waits to be accepted. One that is idle is given as a
// stream then.
func (c waitingConn) hasRequest() bool { return true }

// keep implements [givable]. Accept returns all that waits. It returns nothing if the program has
// closed the listener.
func (c waitingConn) keep() (kept bool) {
	c.listener.mu.Lock()
	defer c.listener.mu.Unlock()
	if c.listener.closed {
		return false
	}
	c.listener.release()
	return true
}

// unpass implements [givable]. The descriptor stays open.
func (c waitingConn) unpass() {
	c.listener.mu.Lock()
	defer c.listener.mu.Unlock()
	if c.pinned && !c.unpassed {
		c.unpassed = true
		c.registry.takeFile(c.key)
	}
}
