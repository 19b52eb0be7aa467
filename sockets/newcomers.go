package sockets

import (
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/autorestart-go/autorestart/internal/report"
	"github.com/autorestart-go/autorestart/internal/sys"
)

// While a listener is quiesced, its clients can still connect: they wait in the kernel's
// queue. That is short: when it is full, the kernel refuses clients of a Unix socket, and
// those of TCP wait for time-outs. So the listener takes newcomers out of the queue until
// right before the exec. They cross it unread, and the next call of Accept returns them, in
// this version or in the next one. Each is in the store from its accept(2) on.

// addNewcomer has Accept return the connection after those that wait already.
func (l *listener) addNewcomer(fd *sys.FD) {
	c := &inheritedConn{registry: l.registry, key: l.connectionKey(unread), fd: fd.Release()}
	if c.pass() != nil {
		c.close() // it could not cross
		return
	}
	l.mu.Lock()
	l.newcomers = append(l.newcomers, c)
	l.wakeUp()
	l.mu.Unlock()
	l.closeInheritedIfClosed()
	l.offer(waitingConn{c, l})
	l.interrupt()
}

// nextNewcomer returns the connection that has waited longest, as a stream; or nil if none
// waits, or if accept is to fail. It fails if descriptors or memory are short for now.
func (l *listener) nextNewcomer() (*stream, error) {
	for {
		l.mu.Lock()
		if len(l.newcomers) == 0 || l.held || l.closed || expired(l.deadline) {
			l.mu.Unlock()
			return nil, nil
		}
		c := l.newcomers[0]
		l.newcomers = l.newcomers[1:]
		l.mu.Unlock()
		s, err := c.stream(l)
		switch {
		case mayPass(err):
			l.mu.Lock()
			l.newcomers = slices.Insert(l.newcomers, 0, c)
			l.mu.Unlock()
			l.closeInheritedIfClosed()
			return nil, err
		case err != nil:
		case s.socket.RemoteAddr() == nil:
			s.socket.Close() // the client has reset the connection
		default:
			descriptors.accepted(s.socket)
			l.addOpen(+1)
			return s, nil
		}
	}
}

// closeNewcomers closes the connections that will not be accepted.
func (l *listener) closeNewcomers() {
	l.mu.Lock()
	conns := l.newcomers
	l.newcomers = nil
	l.mu.Unlock()
	for _, c := range conns {
		c.close()
	}
}

// spareDescriptors is how many descriptors newcomers leave free. It is more than other
// connections leave: a restart is under way.
const spareDescriptors = 32

// maxTaken is how many connections are taken at once.
const maxTaken = spareDescriptors / 4

// A taker takes the connections for a listener out of a queue.
type taker struct {
	socket *os.File      // a duplicate of the listening socket, whose other users don't accept
	undo   func(fd int)  // dropSYN; nil if the socket takes part in handshakes
	stop   chan struct{} // closed to stop
	done   chan struct{} // closed when it has stopped
}

// acceptSYN undoes dropSYN in the socket, or in a connection that it has accepted.
func (t *taker) acceptSYN(fd int) {
	if t.undo != nil {
		t.undo(fd)
	}
}

// startTaking takes newcomers until stopTaking. They stay in the kernel's queue where that is
// not possible: without an exec, without a descriptor, and if the program has made the socket
// blocking; for a version that would close them; and for a process that accepts them meanwhile.
func (l *listener) startTaking() {
	l.mu.Lock()
	held := l.held
	l.mu.Unlock()
	if !hasExec || !held || !l.registry.receiverKnows() || l.registry.Beside.Serves() {
		return
	}
	f, err := l.socket.File()
	if err != nil {
		return
	}
	if !isNonblocking(f) {
		f.Close()
		return
	}
	t := newTaker(f, l, nil)
	l.mu.Lock()
	l.taker = t
	l.mu.Unlock()
}

// stopTaking returns when all newcomers that were taken are in the store.
func (l *listener) stopTaking() {
	l.mu.Lock()
	t := l.taker
	l.taker = nil
	l.mu.Unlock()
	if t != nil {
		t.end()
		t.socket.Close()
	}
}

// newTaker returns a taker that takes connections for l. undo is that of dropSYN, or nil.
func newTaker(socket *os.File, l *listener, undo func(fd int)) *taker {
	t := &taker{socket, undo, make(chan struct{}), make(chan struct{})}
	go t.run(l)
	return t
}

// end returns when the taker has stopped.
func (t *taker) end() {
	close(t.stop)
	t.socket.SetReadDeadline(past)
	<-t.done
}

func (t *taker) run(l *listener) {
	defer close(t.done)
	conn, err := t.socket.SyscallConn()
	if err != nil {
		return
	}
	var row acceptErrors
	short := false // of descriptors
	warn := sync.OnceFunc(func() {
		report.Warn("clients wait in the kernel's queue: descriptors or memory are short", "listener", l.Addr().String(), "reason", err)
	})
	for {
		if short && t.descriptorsAreShort() {
			err = syscall.EMFILE
		} else {
			var fds []*sys.FD
			if fds, err = acceptAll(conn, maxTaken); len(fds) > 0 {
				row = acceptErrors{}
				short = isShort(fds[len(fds)-1].Int())
			}
			for _, fd := range fds {
				t.acceptSYN(fd.Int())
				l.addNewcomer(fd)
			}
		}
		if err == nil {
			continue
		}
		pause, passes := row.add(err)
		if !passes {
			return
		}
		if mayPass(err) {
			warn()
		}
		select {
		case <-time.After(pause):
		case <-t.stop:
			return
		}
	}
}

// leftByNewcomers returns how many descriptors newcomers leave, of the given limit.
func leftByNewcomers(limit int) int { return min(spareDescriptors, limit/4) }

// isShort reports whether too few descriptors are free when a new one has the given number: it
// is the lowest that is free.
func isShort(number int) bool {
	limit := openFilesLimit()
	return limit-1-number < leftByNewcomers(limit)
}

func (t *taker) descriptorsAreShort() bool {
	number, err := lowestFree(t.socket)
	return err != nil || isShort(number)
}
