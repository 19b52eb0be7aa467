package grpcserve

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/autorestart-go/autorestart/internal/httpconn"
)

// A listener is what package grpc accepts from: it counts the connections of a server.
type listener struct {
	net.Listener
	server *server
	own    bool // of package sockets, whose Accept waits while the program is drained

	closeOnce sync.Once
	closed    chan struct{}
}

func (l *listener) Accept() (net.Conn, error) {
	if !l.own {
		l.server.awaitResume(l.closed)
	}
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	if timeout, ok := l.server.fields.userTimeout(); ok {
		setUserTimeout(nc, timeout)
	}
	return l.server.add(nc), nil
}

func (l *listener) Close() error {
	l.closeOnce.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

// SyscallConn implements [syscall.Conn]: package grpc reads socket options.
func (l *listener) SyscallConn() (syscall.RawConn, error) { return syscallConn(l.Listener) }

// A conn is a connection that package grpc has accepted.
type conn struct {
	net.Conn
	server     *server
	accepted   time.Time
	received   atomic.Bool // data has been read
	handshaken atomic.Bool // there is a transport, or the connection failed
	closeOnce  sync.Once
}

func (c *conn) Read(b []byte) (n int, err error) {
	n, err = c.Conn.Read(b)
	if n > 0 && !c.received.Load() {
		c.received.Store(true)
	}
	return n, err
}

// SetDeadline takes note of the end of the handshake: package grpc removes its deadline then, before it
// has the transport in a field.
func (c *conn) SetDeadline(t time.Time) error {
	if t.IsZero() && c.handshaken.CompareAndSwap(false, true) {
		c.server.joined.Broadcast()
	}
	return c.Conn.SetDeadline(t)
}

func (c *conn) Close() error {
	err := c.Conn.Close()
	c.closeOnce.Do(func() { c.server.remove(c) })
	return err
}

// SyscallConn implements [syscall.Conn], for credentials and for package grpc.
func (c *conn) SyscallConn() (syscall.RawConn, error) { return syscallConn(c.Conn) }

// NetConn returns the connection that the listener has accepted, as a method of [crypto/tls.Conn] does.
func (c *conn) NetConn() net.Conn { return c.Conn }

func syscallConn(v any) (syscall.RawConn, error) {
	if sc, ok := v.(syscall.Conn); ok {
		return sc.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}

const (
	// silentTimeout is how long a connection may be open on which nothing has arrived. Clients of
	// gRPC begin at once.
	silentTimeout = time.Second

	// handshakeTimeout is how long a handshake may take from the beginning of a drain.
	handshakeTimeout = time.Second
)

// closeIfDue closes the connection if its client takes too long to begin, in a drain that began at
// drainStart. It returns how long the client has otherwise, or 0.
func (c *conn) closeIfDue(drainStart, now time.Time) (left time.Duration) {
	if c.handshaken.Load() {
		return 0
	}
	left = silentTimeout - now.Sub(c.accepted)
	if c.received.Load() || left <= 0 && httpconn.Unread(c.Conn) {
		begin := drainStart
		if c.accepted.After(begin) {
			begin = c.accepted
		}
		left = handshakeTimeout - now.Sub(begin)
	}
	if left <= 0 {
		go c.Close() // may block
		return 0
	}
	return left
}
