package sockets

import (
	"errors"
	"net"
	"os"
	"syscall"
	"time"
)

// A stream is an accepted connection, as its listener sees it. Its exported methods
// are those of [net.Conn] in which the connections of this package
// differ from those of package net.
type stream struct {
	gate     // before Read
	socket   streamSocket
	listener *listener

	mayPark   bool      // see httpconn.Conn
	keptAt    time.Time // since when the stream is not parked any more, see giving.go
	between   bool      // the next request has not started, or it crosses with its beginning
	started   bool      // a part of it was read
	lastRead  time.Time // when a read last returned data
	parked    bool      // a reader waits at the gate; listener.open does not count the stream
	passedAs  key       // under which the stream is passed to the next version; zero if it is not
	beginning beginning // of the next request, if the stream may be parked
	halfClose bool      // see httpconn.Conn
	hijacked  bool      // likewise; listener.hijacked counts the stream until it is closed
}

// streamSocket is a [*net.TCPConn] or a [*net.UnixConn].
type streamSocket interface {
	net.Conn
	CloseWrite() error
	File() (*os.File, error)
	SyscallConn() (syscall.RawConn, error)
}

func newStream(socket streamSocket, l *listener) *stream {
	s := &stream{socket: socket, listener: l}
	s.arm, s.onWait = socket.SetReadDeadline, s.setParked
	return s
}

func (s *stream) Read(b []byte) (n int, err error) {
	for {
		epoch, n, err := s.enterRead(b)
		if err == nil && n == 0 {
			n, err = s.socket.Read(b)
		}
		s.mu.Lock()
		again := s.leave(epoch, err)
		if n > 0 {
			s.delivered(b[:n])
		} else if s.closed && errors.Is(err, os.ErrDeadlineExceeded) {
			err = s.errClosed("read")
		}
		s.mu.Unlock()
		if !again {
			return n, err
		}
	}
}

// enterRead is enter for a reader. It returns what the previous version has read. It fails
// if the stream is closed; the reader must leave all the same.
func (s *stream) enterRead(b []byte) (epoch uint, n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mayPark && s.between && (!s.beginning.find(len(b)) || s.held && !s.beginningCrosses()) {
		s.requestStarted()
	}
	s.waitOpen()
	s.inside++
	if s.closed {
		return s.epoch, 0, s.errClosed("read")
	}
	return s.epoch, s.beginning.takeUnread(b), nil
}

// takeUnread returns at most limit bytes that the previous version has read and that no reader of
// this one has got.
func (s *stream) takeUnread(limit int) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	b := make([]byte, min(limit, len(s.beginning.unread)))
	s.beginning.takeUnread(b)
	return b
}

// delivered is called with s locked, with what a reader gets.
func (s *stream) delivered(b []byte) {
	s.lastRead, s.started = time.Now(), true
	if s.mayPark {
		if crosses := s.beginning.delivered(b); crosses && s.between {
			return
		}
	}
	s.requestStarted()
}

func (s *stream) SetReadDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed { // a half-closed stream has a deadline of its own
		return s.errClosed("set")
	}
	s.beginning.deadlines++
	return s.setDeadlineLocked(t)
}

func (s *stream) SetDeadline(t time.Time) error {
	if err := s.socket.SetWriteDeadline(t); err != nil {
		return err
	}
	return s.SetReadDeadline(t)
}

func (s *stream) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return s.errClosed("close")
	}
	s.closed = true
	if s.pinned {
		s.mu.Unlock()
		return nil // endGiving closes it, if the other process has not taken it
	}
	return s.unlockAndClose()
}

// unlockAndClose is the rest of Close. It is called with s locked and closed.
func (s *stream) unlockAndClose() (err error) {
	counted := !s.parked
	s.parked = false
	s.stopPassing()
	s.wakeUp()
	halfClose := s.halfClose
	if s.hijacked {
		s.listener.addHijacked(-1)
	}
	s.mu.Unlock()
	if halfClose {
		err = s.socket.CloseWrite()
		s.awaitClient()
	} else {
		err = s.closeSocket()
	}
	if counted {
		s.listener.addOpen(-1)
	}
	return err
}

// closeSocket is the end of the stream.
func (s *stream) closeSocket() error {
	err := s.socket.Close()
	descriptors.release()
	s.listener.removeStream(s)
	return err
}

func (s *stream) errClosed(op string) error {
	local := s.socket.LocalAddr()
	return &net.OpError{Op: op, Net: local.Network(), Source: local, Addr: s.socket.RemoteAddr(), Err: net.ErrClosed}
}
