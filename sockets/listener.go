package sockets

import (
	"context"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// listenerSocket is a [*net.TCPListener] or a [*net.UnixListener].
type listenerSocket interface {
	net.Listener
	File() (*os.File, error)
	SetDeadline(time.Time) error
	SyscallConn() (syscall.RawConn, error)
}

type listener struct {
	tenure
	socket    listenerSocket
	keepAlive keepAlive
	open      int              // connections accepted and not closed, without those that rest
	streams   map[*stream]bool // that may cross the exec
	resting   atomic.Bool      // they should

	handed []*stream // from the image before, not accepted
	goesOn bool      // whoever accepts goes on with those
	asked  sync.Once // for the first connection
}

// newListener makes a listener of a socket that had, in the image before, the key
// then.
func newListener(s listenerSocket, k, then key, ka keepAlive) *listener {
	l := &listener{
		tenure:    tenure{gate: gate{arm: s.SetDeadline}, key: k, inherited: then != key{}},
		socket:    s,
		keepAlive: ka,
		streams:   map[*stream]bool{},
	}
	if u, ok := s.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false) // that is the tenure's
	}
	l.takeOver(then)
	l.begin(restingListener{l})
	return l
}

func (l *listener) Addr() net.Addr                        { return l.socket.Addr() }
func (l *listener) File() (*os.File, error)               { return l.socket.File() }
func (l *listener) SyscallConn() (syscall.RawConn, error) { return l.socket.SyscallConn() }
func (l *listener) SetDeadline(t time.Time) error         { return l.setDeadline(t) }

// Accept waits for the next connection, and for the end of a restart that is under
// way.
func (l *listener) Accept() (net.Conn, error) {
	l.asked.Do(func() {
		if !l.goesOn {
			l.dropHanded()
		}
	})
	for {
		epoch := l.enter()
		if s := l.nextHanded(); s != nil {
			l.mu.Lock()
			l.leave(epoch, nil)
			l.mu.Unlock()
			return l.wrap(s), nil
		}
		conn, err := l.socket.Accept()
		l.mu.Lock()
		again := l.leave(epoch, err)
		if err == nil {
			l.open++ // in the same breath: at no time it is counted nowhere
		}
		l.mu.Unlock()
		if err == nil {
			return l.wrap(newStream(conn.(connSocket), l)), nil
		}
		if !again {
			return nil, err
		}
	}
}

// GoOn says that whoever accepts takes connections from the middle of a conversation,
// at a boundary: those that rested at the exec.
func (l *listener) GoOn() { l.goesOn = true }

func (l *listener) wrap(s *stream) net.Conn {
	switch conn := s.conn.(type) {
	case *net.TCPConn:
		l.keepAlive.apply(conn)
		return &tcpConn{conn, s}
	case *net.UnixConn:
		return &unixConn{conn, s}
	}
	panic("unreachable") // package net has no others for these networks
}

func (l *listener) count(n int) {
	l.mu.Lock()
	l.open += n
	l.broadcast()
	l.mu.Unlock()
	if n < 0 {
		l.mayBeOver()
	}
}

func (l *listener) streamAdded(s *stream) {
	l.mu.Lock()
	l.streams[s] = true
	l.mu.Unlock()
}

func (l *listener) streamEnded(s *stream) {
	l.mu.Lock()
	delete(l.streams, s)
	l.mu.Unlock()
	l.mayBeOver()
}

func (l *listener) snapshot() []*stream {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Collect(maps.Keys(l.streams))
}

// Close closes the listener. Connections that it has accepted stay open.
func (l *listener) Close() error {
	err := l.close(l.socket)
	l.dropHanded()
	l.mayBeOver()
	return err
}

// mayBeOver has the listener wait, if it is closed, for its connections only.
func (l *listener) mayBeOver() {
	l.mu.Lock()
	none := l.open == 0 && len(l.streams) == 0
	l.mu.Unlock()
	if none {
		l.over()
	}
}

// restingListener is a listener as an [autorestart.Drainer].
type restingListener struct{ *listener }

func (l restingListener) Quiesce() {
	l.shut()
	l.resting.Store(true)
	for _, s := range l.snapshot() {
		s.rest()
	}
}

func (l restingListener) Drain(ctx context.Context) error {
	err := l.await(ctx, func() bool { return l.inside == 0 && l.open == 0 })
	l.crossAll()
	if err != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		return fmt.Errorf("%d connections of %s %s are open: %w", l.open, l.key.network, l.Addr(), err)
	}
	return nil
}

func (l restingListener) Resume() {
	l.resting.Store(false)
	for _, s := range l.snapshot() {
		s.resume()
	}
	l.resume()
	l.mayBeOver()
}
