package sockets

import (
	"context"
	"io"
	"time"
)

// lingerTime is how long a client has to close its side.
const lingerTime = 2 * time.Second

// linger has close end but the writing side. What the client still sends is thrown
// away until it has read the end, and closes. Otherwise it could find that it can't
// write any more, before it reads why. Nobody waits for that: a stream that lingers
// crosses the exec.
func (s *stream) linger() {
	s.mu.Lock()
	s.lingers = true
	s.mu.Unlock()
}

// discard reads what is left to read, and closes.
func (s *stream) discard() {
	s.arm(longAgo)
	s.await(context.Background(), func() bool { return s.inside == 0 })
	s.arm(time.Now().Add(lingerTime))
	io.Copy(io.Discard, s.conn)
	s.mu.Lock()
	s.lingers = false
	s.stay()
	s.mu.Unlock()
	s.conn.Close()
	s.l.streamEnded(s)
}
