package sockets

import (
	"errors"
	"net"
	"os"
	"strconv"
	"sync/atomic"

	"github.com/autorestart-go/autorestart/internal/handover"
)

// Connections that rest when the exec comes, and how the next image goes on with
// them.

// crossed counts them, for all listeners: one that was closed may still have some
// when another has its address.
var crossed atomic.Int64

// crossAll has all streams that rest cross the exec.
func (l *listener) crossAll() {
	for _, s := range l.snapshot() {
		k := l.key
		k.kind, k.name = accepted, strconv.FormatInt(crossed.Add(1), 10)
		if err := s.cross(k); err != nil {
			handover.Notice("idle connections are cut off", "listener", l.Addr().String(), "reason", err)
			return
		}
	}
}

// takeOver takes the connections that the listener, under its key of then, had in the
// image before. They rest until they are accepted.
func (l *listener) takeOver(then key) {
	for _, k := range claimConnections(then) {
		fd, ok := handover.TakeFile(k.String())
		if !ok {
			continue
		}
		if conn, err := connOf(fd, k.String()); err == nil {
			s := newStream(conn, l)
			l.streamAdded(s)
			if k.kind == closing {
				s.lingers, s.closed = true, true
				go s.discard()
				continue
			}
			s.mayRest, s.atStart, s.rests = true, true, true
			l.handed = append(l.handed, s)
		}
	}
}

// connOf takes over fd.
func connOf(fd int, name string) (connSocket, error) {
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
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

// nextHanded returns a connection from the image before, if there is one left.
func (l *listener) nextHanded() *stream {
	l.mu.Lock()
	var s *stream
	if len(l.handed) > 0 {
		s, l.handed = l.handed[0], l.handed[1:]
		l.open++
	}
	l.mu.Unlock()
	if s != nil {
		s.mu.Lock()
		s.rests = false
		s.stay()
		s.mu.Unlock()
	}
	return s
}

// dropHanded closes what nobody is going to accept.
func (l *listener) dropHanded() {
	for s := l.nextHanded(); s != nil; s = l.nextHanded() {
		s.close()
	}
}
