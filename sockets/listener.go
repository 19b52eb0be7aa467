package sockets

import (
	"context"
	"fmt"
	"net"
	"os"
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
	open      int // connections accepted and not closed
}

func newListener(s listenerSocket, k key, ka keepAlive) *listener {
	l := &listener{tenure: tenure{gate: gate{arm: s.SetDeadline}, key: k}, socket: s, keepAlive: ka}
	if u, ok := s.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false) // that is the tenure's
	}
	l.begin(resting{l})
	return l
}

func (l *listener) Addr() net.Addr                        { return l.socket.Addr() }
func (l *listener) File() (*os.File, error)               { return l.socket.File() }
func (l *listener) SyscallConn() (syscall.RawConn, error) { return l.socket.SyscallConn() }
func (l *listener) SetDeadline(t time.Time) error         { return l.setDeadline(t) }

// Accept waits for the next connection, and for the end of a restart that is under
// way.
func (l *listener) Accept() (net.Conn, error) {
	for {
		epoch := l.enter()
		conn, err := l.socket.Accept()
		l.mu.Lock()
		again := l.leave(epoch, err)
		if err == nil {
			l.open++ // in the same breath: at no time it is counted nowhere
		}
		l.mu.Unlock()
		if err == nil {
			return l.accepted(conn), nil
		}
		if !again {
			return nil, err
		}
	}
}

// accepted wraps a connection so that its end is noticed.
func (l *listener) accepted(conn net.Conn) net.Conn {
	s := newStream(conn, l)
	switch conn := conn.(type) {
	case *net.TCPConn:
		l.keepAlive.apply(conn)
		return &tcpConn{conn, s}
	case *net.UnixConn:
		return &unixConn{conn, s}
	}
	panic("unreachable") // package net has no others for these networks
}

// ended is called once for each connection.
func (l *listener) ended() {
	l.mu.Lock()
	l.open--
	l.broadcast()
	l.mu.Unlock()
	l.mayBeOver()
}

// Close closes the listener. Connections that it has accepted stay open.
func (l *listener) Close() error {
	err := l.close(l.socket)
	l.mayBeOver()
	return err
}

// mayBeOver has the listener wait, if it is closed, for its connections only.
func (l *listener) mayBeOver() {
	l.mu.Lock()
	none := l.open == 0
	l.mu.Unlock()
	if none {
		l.over()
	}
}

// resting is the listener as an [autorestart.Drainer].
type resting struct{ l *listener }

func (r resting) Quiesce() {
	r.l.mu.Lock()
	r.l.hold()
	r.l.mu.Unlock()
}

func (r resting) Drain(ctx context.Context) error {
	l := r.l
	if err := l.await(ctx, func() bool { return l.inside == 0 && l.open == 0 }); err != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		return fmt.Errorf("%d connections of %s %s are open: %w", l.open, l.key.network, l.Addr(), err)
	}
	return nil
}

func (r resting) Resume() {
	r.l.resume()
	r.l.mayBeOver()
}
