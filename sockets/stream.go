package sockets

import (
	"errors"
	"net"
	"os"
	"time"

	"github.com/autorestart-go/autorestart"
)

// stream is an accepted connection, as its listener sees it.
//
// Package httpserve, which can tell where a request ends and the next one has not
// begun, calls that a boundary. There a connection may rest: while everything is brought
// to rest nobody reads from it, it need not be waited for, and crosses the exec. Its
// client notices nothing.
type stream struct {
	gate // read
	conn connSocket
	l    *listener

	mayRest bool
	atStart bool      // nothing was read since the last boundary
	lastAt  time.Time // something was read
	rests   bool      // a reader waits at the gate, and nothing was read; the listener does not count it
	lingers bool      // see linger
	passed  key       // under which it crosses the exec; none if zero

	// buffer is how much the first reader asked for, if the stream may rest. One that
	// asks for less has something left from before.
	buffer int
}

// connSocket is a [*net.TCPConn] or a [*net.UnixConn].
type connSocket interface {
	net.Conn
	CloseWrite() error
	File() (*os.File, error)
}

func newStream(conn connSocket, l *listener) *stream {
	s := &stream{conn: conn, l: l}
	s.arm, s.waits = conn.SetReadDeadline, s.resting
	return s
}

func (s *stream) read(b []byte) (n int, err error) {
	for {
		epoch, err := s.enterWith(len(b))
		if err == nil {
			n, err = s.conn.Read(b)
		}
		s.mu.Lock()
		again := s.leave(epoch, err)
		if n > 0 {
			s.lastAt = time.Now()
			s.begun()
		} else if s.closed && errors.Is(err, os.ErrDeadlineExceeded) {
			err = s.errClosed("read")
		}
		s.mu.Unlock()
		if !again {
			return n, err
		}
	}
}

// enterWith is enter for a reader with a buffer of that size. It fails if the stream
// is closed.
func (s *stream) enterWith(size int) (epoch uint, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mayRest {
		if s.buffer == 0 {
			s.buffer = size
		}
		if size != s.buffer {
			s.begun()
		}
	}
	s.waitOpen()
	s.inside++
	if s.closed {
		err = s.errClosed("read")
	}
	return s.epoch, err
}

func (s *stream) errClosed(op string) error {
	local := s.conn.LocalAddr()
	return &net.OpError{Op: op, Net: local.Network(), Source: local, Addr: s.conn.RemoteAddr(), Err: net.ErrClosed}
}

// begun is called, with s locked, when the next request is.
func (s *stream) begun() {
	s.atStart = false
	s.release()
}

// resting is called with s locked.
func (s *stream) resting(n int) {
	if s.closed {
		return // close has seen to the count
	}
	s.rests = n > 0
	s.l.count(-n)
}

func (s *stream) atBoundary(mayRest bool) {
	if mayRest && !s.mayRest { // the first time: nobody else has a say in it
		s.l.streamAdded(s)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mayRest, s.atStart = mayRest, true
	if mayRest && s.l.resting.Load() {
		s.hold()
	}
}

// requestBegun says that the boundary is passed, even if nothing was read: the next
// request came together with the last.
func (s *stream) requestBegun() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begun()
}

// heard returns when something was read, and whether that was since the last
// boundary.
func (s *stream) heard() (last time.Time, since bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lastAt, !s.atStart
}

// rest has the stream rest as soon as it may.
func (s *stream) rest() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mayRest && s.atStart {
		s.hold()
	}
}

func (s *stream) resume() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stay()
	s.release()
}

// cross has the stream cross the exec if it rests.
func (s *stream) cross(k key) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lingers {
		k.kind = closing
	}
	if !s.rests && !s.lingers || s.passed != (key{}) {
		return nil
	}
	if err := pass(k, s.conn); err != nil {
		return err
	}
	s.passed = k
	return nil
}

// stay undoes cross. It is called with s locked.
func (s *stream) stay() {
	if s.passed != (key{}) {
		autorestart.Pass(s.passed.String(), nil)
		s.passed = key{}
	}
}

func (s *stream) setReadDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed { // the deadline is that of lingering
		return s.errClosed("set")
	}
	return s.set(t)
}

func (s *stream) setDeadline(t time.Time) error {
	if err := s.conn.SetWriteDeadline(t); err != nil {
		return err
	}
	return s.setReadDeadline(t)
}

func (s *stream) close() error {
	s.mu.Lock()
	first, counted := !s.closed, !s.rests
	s.closed, s.rests = true, false
	s.stay()
	s.broadcast()
	lingers := s.lingers
	s.mu.Unlock()
	if !first {
		return s.errClosed("close")
	}
	var err error
	if lingers {
		err = s.conn.CloseWrite()
		s.l.streamAdded(s)
		go s.discard()
	} else {
		err = s.conn.Close()
		s.l.streamEnded(s)
	}
	if counted {
		s.l.count(-1)
	}
	return err
}
