package sockets

import (
	"net"
	"time"

	"github.com/autorestart-go/autorestart/internal/httpconn"
)

// Streams between two requests are parked in a restart and cross the exec, see
// [httpconn.Conn] and crossing.go.

func init() {
	httpconn.Of = func(c net.Conn) httpconn.Conn {
		switch c := c.(type) {
		case *tcpConn:
			return httpConn{c.stream}
		case *unixConn:
			return httpConn{c.stream}
		}
		return nil
	}
	httpconn.ListenerOf = func(ln net.Listener) httpconn.Listener {
		if l, ok := ln.(*listener); ok {
			return httpListener{l}
		}
		return nil
	}
}

// An httpConn is a stream as an [httpconn.Conn].
type httpConn struct{ stream *stream }

// An httpListener is a listener as an [httpconn.Listener].
type httpListener struct{ listener *listener }

// DrainOrder implements [httpconn.Listener].
func (l httpListener) DrainOrder() int { return l.listener.order }

// AcceptParked implements [httpconn.Listener].
func (l httpListener) AcceptParked() {
	l.listener.mu.Lock()
	defer l.listener.mu.Unlock()
	l.listener.acceptParked = true
}

// BetweenRequests implements [httpconn.Conn].
func (c httpConn) BetweenRequests(mayPark bool) {
	s := c.stream
	if mayPark && !s.mayPark { // only the first call; the field has no other writer
		s.listener.addStream(s)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mayPark, s.between, s.started = mayPark, true, false
	s.beginning.next()
	if s.isParkable() && s.listener.quiesced.Load() && s.listener.registry.parks() {
		s.hold()
	}
}

// RequestStarted implements [httpconn.Conn].
func (c httpConn) RequestStarted() {
	s := c.stream
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requestStarted()
}

// Hijacked implements [httpconn.Conn].
func (c httpConn) Hijacked() {
	s := c.stream
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.hijacked && !s.closed {
		s.hijacked, s.halfClose = true, false // no response of net/http is the last one
		s.listener.addHijacked(+1)
	}
}

// requestStarted is called with s locked, when the header of a request is complete, or can't
// cross the exec.
func (s *stream) requestStarted() {
	s.between, s.started = false, true
	s.beginning.forget()
	s.release()
}

// LastRead implements [httpconn.Conn].
func (c httpConn) LastRead() (at time.Time, started bool) {
	s := c.stream
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lastRead, s.started
}

// MayCross implements [httpconn.Conn].
func (c httpConn) MayCross() bool {
	s := c.stream
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.isParkable() && s.between && s.beginningCrosses() && (s.parked || s.listener.registry.parks())
}

// WillPark implements [httpconn.Conn].
func (c httpConn) WillPark() bool {
	s := c.stream
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.isParkable() && s.listener.registry.parks()
}

// KeptAt implements [httpconn.Conn].
func (c httpConn) KeptAt() time.Time {
	s := c.stream
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.keptAt
}

// isParkable reports whether the stream is parked between requests. It is called with s locked.
func (s *stream) isParkable() bool { return s.mayPark && s.keptAt.IsZero() }

// beginningCrosses reports whether the next version knows what to do with what was read of a
// request. It is called with s locked.
func (s *stream) beginningCrosses() bool {
	return s.listener.registry.receiverKnows() || len(s.beginning.bytes()) == 0
}

// quiesce parks the stream as soon as a reader comes, if it may be parked now.
func (s *stream) quiesce() {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !s.listener.quiesced.Load(): // the drain was called off meanwhile
	case s.halfClose && s.closed && !s.pinned:
		s.pass(halfClosed, nil)
	case !s.isParkable() || !s.between:
	case s.beginningCrosses():
		s.hold()
		if s.parked { // since the last restart
			s.listener.offer(s)
		}
	default:
		s.requestStarted() // also if it is still parked from the last restart
	}
}

// isIdle reports whether quiesce would park the stream.
func (s *stream) isIdle() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.isParkable() && s.between && !s.parked && !s.closed && s.beginningCrosses()
}

// setParked is called with s locked, when a reader begins or stops to wait at the gate.
func (s *stream) setParked(waits bool) {
	if s.closed {
		return // Close has corrected the count
	}
	s.parked = waits
	if waits {
		s.passParked()
		s.listener.offer(s) // before a drain finds that nothing is open
		s.listener.addOpen(-1)
	} else {
		s.stopPassing()
		s.listener.addOpen(+1)
		s.wakeUp() // keep waits
	}
}

// passParked is called with s locked.
func (s *stream) passParked() { s.pass(s.parkedKind()) }

// parkedKind returns as what a parked stream crosses, and with which state. It is called with s
// locked.
func (s *stream) parkedKind() (as kind, state []byte) {
	if state = s.beginning.bytes(); len(state) > 0 {
		return begun, state
	}
	return parked, nil
}

// resume lets the reader go on. A parked stream is passed on until the reader does: the next
// restart may come before that.
func (s *stream) resume() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.parked {
		s.stopPassing()
	}
	s.release()
}
