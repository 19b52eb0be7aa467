package sockets

import (
	"context"
	"io"
	"time"
)

// halfCloseTimeout limits how long a half-closed stream waits for its client to close.
const halfCloseTimeout = 2 * time.Second

// SetHalfClose implements [httpconn.Conn]. A restart does not wait for half-closed
// streams: they cross the exec.
func (c httpConn) SetHalfClose() {
	s := c.stream
	s.mu.Lock()
	s.halfClose = true
	s.mu.Unlock()
}

// awaitClient has a half-closed stream cross the exec, and close after its client.
func (s *stream) awaitClient() {
	s.listener.addStream(s)
	s.listener.addClosing(+1)
	s.mu.Lock()
	s.halfClose, s.closed = true, true
	if s.listener.quiesced.Load() {
		s.pass(halfClosed, nil)
	}
	s.mu.Unlock()
	go s.discardAndClose()
}

// discardAndClose discards what the client sends until it closes its side, and then
// closes the stream.
func (s *stream) discardAndClose() {
	s.arm(past)
	s.await(context.Background(), func() bool { return s.inside == 0 })
	s.arm(time.Now().Add(halfCloseTimeout))
	io.Copy(io.Discard, s.socket)
	s.mu.Lock()
	s.halfClose = false
	s.stopPassing()
	s.mu.Unlock()
	s.closeSocket()
	s.listener.addClosing(-1)
}
