package sockets

import (
	"errors"
	"net"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/autorestart-go/autorestart/internal/report"
)

// Streams between two requests are parked in a restart and cross the exec, see
// [httpconn.Conn]. Half-closed streams cross it, too.

// BetweenRequests implements [httpconn.Conn].
func (s *stream) BetweenRequests(mayPark bool) {
	if mayPark && !s.mayPark { // only the first call; the field has no other writer
		s.listener.addStream(s)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mayPark, s.between = mayPark, true
	if mayPark && s.listener.quiesced.Load() {
		s.hold()
	}
}

// RequestStarted implements [httpconn.Conn].
func (s *stream) RequestStarted() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requestStarted()
}

// requestStarted is RequestStarted, called with s locked.
func (s *stream) requestStarted() {
	s.between = false
	s.release()
}

// LastRead implements [httpconn.Conn].
func (s *stream) LastRead() (at time.Time, started bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lastRead, !s.between
}

// quiesce parks the stream as soon as a reader comes, if it may be parked now.
func (s *stream) quiesce() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mayPark && s.between {
		s.hold()
	}
}

// setParked is called with s locked, when a reader begins or stops to wait at the gate.
func (s *stream) setParked(parked bool) {
	if s.closed {
		return // Close has corrected the count
	}
	s.parked = parked
	if parked {
		s.listener.addOpen(-1)
	} else {
		s.listener.addOpen(+1)
	}
}

func (s *stream) resume() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopPassing()
	s.release()
}

// pass passes the stream to the next version, if it is parked or half closed.
func (s *stream) pass(k key) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.halfClose {
		k.kind = halfClosed
	}
	if !s.parked && !s.halfClose || s.passedAs != (key{}) {
		return nil
	}
	if err := passSocket(k, s.socket); err != nil {
		return err
	}
	s.passedAs = k
	return nil
}

// stopPassing undoes pass. It is called with s locked.
func (s *stream) stopPassing() {
	if s.passedAs != (key{}) {
		stopPassing(s.passedAs)
		s.passedAs = key{}
	}
}

// passedStreams numbers the streams of all listeners: a closed listener may still have
// some when there is another one with its address.
var passedStreams atomic.Int64

// passStreams passes all streams that are parked or half closed to the next version.
func (l *listener) passStreams() {
	for _, s := range l.allStreams() {
		k := l.key
		k.kind, k.name = parked, strconv.FormatInt(passedStreams.Add(1), 10)
		if err := s.pass(k); err != nil {
			report.Warn("cannot pass idle connections to the next version, which closes them", "listener", l.Addr().String(), "reason", err)
			return
		}
	}
}

// inheritStreams takes over the connections of the listener that the previous version
// passed under oldKey. They stay parked until they are accepted.
func (l *listener) inheritStreams(oldKey key) {
	for _, k := range claimConnections(oldKey) {
		f, ok := takeFile(k)
		if !ok {
			continue
		}
		socket, err := fileStream(f)
		f.Close()
		if err != nil {
			continue
		}
		s := newStream(socket, l)
		l.addStream(s)
		if k.kind == halfClosed {
			s.halfClose, s.closed = true, true
			go s.discardAndClose()
			continue
		}
		s.mayPark, s.between, s.parked = true, true, true
		l.inheritedStreams = append(l.inheritedStreams, s)
	}
}

// fileStream makes an inherited connection of f.
func fileStream(f *os.File) (streamSocket, error) {
	conn, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	switch conn := conn.(type) {
	case *net.TCPConn:
		return conn, nil
	case *net.UnixConn:
		return conn, nil
	}
	conn.Close()
	return nil, errors.ErrUnsupported
}

// nextInheritedStream returns a stream that the previous version parked, or nil if
// there is none left.
func (l *listener) nextInheritedStream() *stream {
	l.mu.Lock()
	var s *stream
	if len(l.inheritedStreams) > 0 {
		s, l.inheritedStreams = l.inheritedStreams[0], l.inheritedStreams[1:]
		l.open++
	}
	l.mu.Unlock()
	if s != nil {
		s.mu.Lock()
		s.parked = false
		s.stopPassing()
		s.mu.Unlock()
	}
	return s
}

// closeInheritedStreams closes the streams that will not be accepted.
func (l *listener) closeInheritedStreams() {
	for s := l.nextInheritedStream(); s != nil; s = l.nextInheritedStream() {
		s.Close()
	}
}
