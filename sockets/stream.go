package sockets

import (
	"net"
	"time"
)

// stream is an accepted connection, as its listener sees it.
//
// Package httpserve, which can tell where a request ends and the next one has not
// begun, calls that a boundary.
type stream struct {
	gate // read
	conn net.Conn
	l    *listener

	atStart bool      // nothing was read since the last boundary
	lastAt  time.Time // something was read
}

func newStream(conn net.Conn, l *listener) *stream {
	return &stream{gate: gate{arm: conn.SetReadDeadline}, conn: conn, l: l}
}

func (s *stream) read(b []byte) (n int, err error) {
	for {
		epoch := s.enter()
		n, err = s.conn.Read(b)
		s.mu.Lock()
		again := s.leave(epoch, err)
		if n > 0 {
			s.atStart, s.lastAt = false, time.Now()
		}
		s.mu.Unlock()
		if !again {
			return n, err
		}
	}
}

func (s *stream) setDeadline(t time.Time) error {
	if err := s.conn.SetWriteDeadline(t); err != nil {
		return err
	}
	return s.gate.setDeadline(t)
}

func (s *stream) close() error {
	s.mu.Lock()
	first := !s.closed
	s.closed = true
	s.broadcast()
	s.mu.Unlock()
	err := s.conn.Close()
	if first {
		s.l.ended()
	}
	return err
}

func (s *stream) atBoundary() {
	s.mu.Lock()
	s.atStart = true
	s.mu.Unlock()
}

// heard returns when something was read, and whether that was since the last
// boundary.
func (s *stream) heard() (last time.Time, since bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lastAt, !s.atStart
}
