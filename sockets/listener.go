package sockets

import (
	"context"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
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
	registration
	socket    listenerSocket
	oldKey    key // under which the previous version has passed it; zero for a new socket
	keepAlive keepAlive
	open      int              // connections that a restart waits for: accepted, not closed, not parked
	hijacked  int              // of those, connections that the program has taken over from net/http
	offered   int              // connections that the other process has not answered for, see offer
	closing   int              // half-closed connections
	streams   map[*stream]bool // connections that may cross the exec
	quiesced  atomic.Bool      // streams that may be parked should be
	errors    acceptErrors     // since a connection was accepted

	inheritedConns []*inheritedConn // parked by the previous version, not accepted yet
	acceptParked   bool             // Accept returns those
	path           os.FileInfo      // of the path when the listener was opened, if that has one
	newcomers      []*inheritedConn // taken out of the kernel's queue, not accepted yet; the oldest first
	taker          *taker           // nil unless newcomers are taken
}

// newListener makes a listener of a socket with the key k. The previous version passed
// it under oldKey, which is zero for a new socket.
func newListener(r *registry, s listenerSocket, k, oldKey key, c *Config) *listener {
	l := &listener{
		registration: newRegistration(r, k, oldKey != key{}, s.SetDeadline, c),
		socket:       s,
		oldKey:       oldKey,
		keepAlive:    keepAlive{c.KeepAlive, c.KeepAliveConfig},
		streams:      map[*stream]bool{},
	}
	if u, ok := s.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false) // the registration removes the path
	}
	if k.ownsPath() {
		l.path, _ = os.Lstat(k.local)
	}
	l.inheritConnections(oldKey)
	r.addListener(l)
	remove := r.beforeExec(l.stopTaking) // first: a drain that is under way has it start to take
	l.drainer = listenerDrainer{l}
	unregister := r.registerDrainer(l.drainer)
	l.unregister = func() {
		unregister()
		remove()
	}
	return l
}

func (l *listener) Addr() net.Addr                        { return l.socket.Addr() }
func (l *listener) File() (*os.File, error)               { return l.socket.File() }
func (l *listener) SyscallConn() (syscall.RawConn, error) { return l.socket.SyscallConn() }
func (l *listener) SetDeadline(t time.Time) error         { return l.setDeadline(t) }

// Accept waits for the next connection. During a restart it waits for the end of that,
// too.
func (l *listener) Accept() (net.Conn, error) {
	for {
		epoch, err := l.enterAccept()
		if err != nil {
			return nil, err
		}
		s, err := l.nextInherited()
		if s == nil && err == nil {
			s, err = l.nextNewcomer()
		}
		if s != nil {
			l.mu.Lock()
			l.leave(epoch, nil)
			l.mu.Unlock()
			return newConn(s, l.keepAlive), nil
		}
		if err != nil && l.pause(epoch) || l.leaveEnded(epoch) {
			continue
		}
		conn, err := l.socket.Accept()
		l.mu.Lock()
		again := l.leave(epoch, err)
		if l.ended && !l.closed {
			again = true
			l.wakeUp() // lose waits
		}
		if err == nil {
			l.open++ // under the same lock, so that Drain counts the call or the connection
			l.errors = acceptErrors{}
		} else {
			descriptors.failed(err)
			again = again || l.retryAccept(err)
		}
		l.mu.Unlock()
		if err == nil {
			socket := conn.(streamSocket)
			descriptors.accepted(socket)
			return newConn(newStream(socket, l), l.keepAlive), nil
		}
		if !again {
			return nil, err
		}
	}
}

// retryInterval is the time between two attempts while descriptors or memory are short.
const retryInterval = 20 * time.Millisecond

// pause leaves and waits for a moment, unless the deadline has expired.
func (l *listener) pause(epoch uint) (paused bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if expired(l.deadline) {
		return false
	}
	l.leave(epoch, nil)
	l.wait(nil, l.earlier(time.Now().Add(retryInterval)))
	return true
}

// addOpen adds n to the number of connections that a restart waits for.
func (l *listener) addOpen(n int) {
	l.mu.Lock()
	l.open += n
	l.wakeUp()
	l.mu.Unlock()
	if n < 0 {
		l.unregisterIfDone()
	}
}

// addHijacked adds n to the number of connections that the program has taken over from net/http.
func (l *listener) addHijacked(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hijacked += n
}

// addClosing adds n to the number of half-closed connections.
func (l *listener) addClosing(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closing += n
	l.wakeUp()
}

func (l *listener) addStream(s *stream) {
	l.mu.Lock()
	l.streams[s] = true
	l.mu.Unlock()
}

func (l *listener) removeStream(s *stream) {
	l.mu.Lock()
	delete(l.streams, s)
	l.mu.Unlock()
	l.unregisterIfDone()
}

func (l *listener) allStreams() []*stream {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Collect(maps.Keys(l.streams))
}

// Close closes the listener. Connections that it has accepted stay open.
func (l *listener) Close() error {
	err := l.close(l.socket)
	l.registry.removeListener(l)
	l.closeInheritedIfClosed()
	l.unregisterIfDone()
	return err
}

// unregisterIfDone unregisters a closed listener once its connections are closed. Until
// then a restart waits for them.
func (l *listener) unregisterIfDone() {
	l.mu.Lock()
	none := l.open == 0 && len(l.streams) == 0
	l.mu.Unlock()
	if none {
		l.unregisterIfClosed()
	}
}

// listenerDrainer is a listener as an [autorestart.Drainer].
type listenerDrainer struct{ *listener }

func (l listenerDrainer) DrainOrder() int { return l.order }

func (l listenerDrainer) Quiesce() {
	leaves, parks := l.registry.Beside.Leaves(), l.registry.parks()
	if parks {
		l.holdAndWait()
	} // otherwise Accept returns what waits, and that is all
	switch {
	case leaves:
		l.end()
	case l.registry.Beside.Serves():
		l.muting.mute(l.socket)
	}
	l.quiesced.Store(parks)
	l.registry.giver.begin()
	if parks {
		gives := l.registry.Beside.Takes()
		var idle []*stream
		for _, s := range l.allStreams() {
			if gives && s.isIdle() {
				idle = append(idle, s)
			} else {
				s.quiesce()
			}
		}
		l.registry.giver.parkLater(idle)
	}
	l.offerWaiting()
	l.startTaking()
}

// parkTimeout is how long readers take to come to the gate when the time of a drain is over.
const parkTimeout = 50 * time.Millisecond

func (l listenerDrainer) Drain(ctx context.Context) error {
	leaves := l.registry.Beside.Leaves()
	err := l.await(ctx, func() bool {
		return l.lasting(leaves) == 0 && l.offered == 0 && l.inside == 0
	})
	if err != nil {
		if !leaves { // they would be lost
			l.registry.giver.parkNow()
		}
		ctx, cancel := context.WithTimeout(context.Background(), parkTimeout)
		defer cancel()
		l.await(ctx, func() bool { return l.lasting(leaves) == 0 && l.inside == 0 })
	}
	if text := l.Unfinished(); err != nil && text != "" {
		return fmt.Errorf("%s: %w", text, err)
	}
	return nil
}

// Unfinished says what the end of Drain would cut off: a connection that is offered to another
// process crosses the exec, if there is one.
func (l listenerDrainer) Unfinished() string {
	leaves := l.registry.Beside.Leaves()
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.lasting(leaves)
	if leaves {
		n += l.offered
	}
	text := l.unfinished(n, "connection", l.Addr())
	if n > 0 && l.hijacked > 0 {
		text += fmt.Sprintf(" (%d hijacked)", l.hijacked)
	}
	return text
}

// lasting counts the connections that this process has to end. It is called with l locked.
func (l *listener) lasting(leaves bool) int {
	n := l.open
	if leaves {
		n += l.closing
	}
	if !l.held && !l.closed {
		n += len(l.newcomers) + len(l.inheritedConns) // Accept will return them
	}
	return n
}

func (l listenerDrainer) Resume() {
	l.muting.unmute(l.socket)
	l.stopTaking()
	l.quiesced.Store(false)
	l.registry.giver.forget()
	for _, s := range l.allStreams() {
		s.resume()
	}
	l.resume()
	l.closeInheritedIfClosed()
	l.unregisterIfDone()
}
