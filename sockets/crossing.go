package sockets

import (
	"cmp"
	"errors"
	"net"
	"os"
	"slices"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/autorestart-go/autorestart/internal/report"
)

// Streams that are parked or half closed cross the exec with the descriptors that they have.
// The store is lent a descriptor as long as the stream waits. It must not have it any more
// when the socket is closed: after that, the number may be that of another file.

// pass passes the stream to the next version, as one of the given kind with the given state. It
// is called with s locked.
func (s *stream) pass(as kind, state []byte) {
	if s.passedAs != (key{}) {
		return
	}
	k := s.listener.connectionKey(as)
	switch err := s.listener.registry.lendSocket(k, s.socket, state, s.lastRead); {
	case err == nil:
		s.passedAs = k
	case !errors.Is(err, net.ErrClosed):
		report.Warn("an idle connection ends with the restart: it cannot be passed to the next version", "listener", s.listener.Addr().String(), "reason", err)
	}
}

// stopPassing undoes pass. It is called with s locked.
func (s *stream) stopPassing() {
	if s.passedAs != (key{}) {
		s.listener.registry.stopPassing(s.passedAs)
		s.passedAs = key{}
	}
}

// passedStreams numbers the connections of all listeners: a closed listener may still have
// some when there is another one with its address.
var passedStreams atomic.Int64

// connectionKey returns a key for a connection of the listener.
func (l *listener) connectionKey(k kind) key {
	connection := l.key
	connection.kind, connection.name = k, strconv.FormatInt(passedStreams.Add(1), 10)
	return connection
}

// avoidNumber keeps the number of an inherited connection from being given to another one.
func (k key) avoidNumber() {
	if n := k.sequence(); n > passedStreams.Load() {
		passedStreams.Store(n)
	}
}

// sequence returns the number of a connection: an earlier one has a lower number.
func (k key) sequence() int64 {
	n, _ := strconv.ParseInt(k.name, 10, 64)
	return n
}

// An inheritedConn is a connection that the previous version passed on. It stays in the store
// until it is made a stream, so that it crosses further execs, and goes back in a rollback.
type inheritedConn struct {
	registry *registry
	key      key
	fd       int
	begun    []byte   // the beginning of a request, which the previous version has read
	file     *os.File // of fd; nil before the first attempt to make a stream

	pinned, unpassed bool // see waitingConn; the listener's mutex guards them
}

// inheritConnections takes over the connections of the listener that the previous version
// passed under oldKey. Parked ones wait until they are accepted.
func (l *listener) inheritConnections(oldKey key) {
	keys := l.registry.claimConnections(oldKey)
	slices.SortFunc(keys, func(a, b key) int { return cmp.Compare(a.sequence(), b.sequence()) })
	for _, old := range keys {
		k := l.connectionKey(old.kind)
		fd, state, ok := l.registry.claimFile(old, k)
		if !ok {
			continue
		}
		c := &inheritedConn{registry: l.registry, key: k, fd: fd, begun: state}
		switch {
		case k.kind == halfClosed:
			go l.awaitClientOf(c)
		case k.kind == begun && len(c.begun) == 0:
			c.close()
		default:
			l.mu.Lock()
			queue := l.waiting(k.kind)
			*queue = append(*queue, c)
			l.mu.Unlock()
		}
	}
}

// waiting returns where connections of that kind wait until they are accepted.
func (l *listener) waiting(as kind) *[]*inheritedConn {
	if as == unread {
		return &l.newcomers
	}
	return &l.inheritedConns
}

// stream makes a stream of the connection. It needs another descriptor for a moment. If it
// fails for a reason that may pass, the connection is as before; otherwise it is closed.
func (c *inheritedConn) stream(l *listener) (*stream, error) {
	s, err := c.copy(l)
	if !mayPass(err) {
		c.close()
	}
	return s, err
}

// copy is stream, but that the connection stays open in the store as well.
func (c *inheritedConn) copy(l *listener) (*stream, error) {
	if c.file == nil {
		c.file = os.NewFile(uintptr(c.fd), c.key.String())
	}
	socket, err := fileStream(c.file)
	if err != nil {
		return nil, err
	}
	return newStream(socket, l), nil
}

// pass passes the connection to the next version.
func (c *inheritedConn) pass() error { return c.registry.lendFile(c.key, c.fd, c.begun) }

// close closes the descriptor.
func (c *inheritedConn) close() {
	c.registry.takeFile(c.key)
	if c.file == nil {
		c.file = os.NewFile(uintptr(c.fd), c.key.String())
	}
	c.file.Close()
}

// mayPass reports whether an error is one of a table that is full for now.
func mayPass(err error) bool {
	for _, errno := range [...]syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.ENOBUFS, syscall.ENOSPC} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// fileStream makes an inherited connection of f.
func fileStream(f *os.File) (streamSocket, error) {
	conn, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	if conn, ok := conn.(streamSocket); ok {
		return conn, nil
	}
	conn.Close()
	return nil, errors.ErrUnsupported
}

// nextInherited returns a connection that the previous version parked, as a stream; or nil if
// there is none left. It fails if descriptors or memory are short for now.
func (l *listener) nextInherited() (*stream, error) {
	for {
		l.mu.Lock()
		if len(l.inheritedConns) == 0 {
			l.mu.Unlock()
			return nil, nil
		}
		c, accepts := l.inheritedConns[0], l.acceptParked
		l.inheritedConns = l.inheritedConns[1:]
		l.mu.Unlock()
		if !accepts {
			c.close()
			continue
		}
		s, err := c.stream(l)
		if mayPass(err) {
			l.mu.Lock()
			l.inheritedConns = append(l.inheritedConns, c)
			l.mu.Unlock()
			l.closeInheritedIfClosed()
			return nil, err
		}
		if err == nil {
			l.addStream(s)
			s.mayPark, s.between = true, true
			s.beginning.unread = c.begun
			l.addOpen(+1)
			return s, nil
		}
	}
}

// closeInherited closes the connections that will not be accepted.
func (l *listener) closeInherited() {
	l.mu.Lock()
	conns := l.inheritedConns
	l.inheritedConns = nil
	l.mu.Unlock()
	for _, c := range conns {
		c.close()
	}
}

// closeInheritedIfClosed closes them unless the listener is open, or crosses the exec although
// it was closed.
func (l *listener) closeInheritedIfClosed() {
	l.mu.Lock()
	gone := l.closed && !l.held
	l.mu.Unlock()
	if gone {
		l.closeInherited()
		l.closeNewcomers()
	}
}

// awaitClientOf makes a half-closed stream of an inherited one. One of the two crosses an exec at
// each moment; if both do, the next version closes both after the client.
func (l *listener) awaitClientOf(c *inheritedConn) {
	defer c.close()
	for start := time.Now(); time.Since(start) <= halfCloseTimeout; time.Sleep(retryInterval) {
		s, err := c.copy(l)
		if s != nil {
			s.awaitClient()
		}
		if !mayPass(err) {
			return
		}
	}
}
