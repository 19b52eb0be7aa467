package sockets

import (
	"fmt"
	"net"
	"os"
)

// A registration is the part of a socket in restarts. The socket is registered as a
// drainer, and passed to the next version under its key, until the program closes it.
//
// If the program closes it during a restart, it crosses the exec all the same, unless
// the restart is called off: many programs shut their servers down before an exec, and
// the next version still needs the socket.
type registration struct {
	gate
	registry   *registry
	key        key
	inherited  bool
	muting     muting // while another process takes what comes
	ended      bool   // the socket is closed, and the program has not closed it: see lost.go
	unregister func() // as a drainer
}

// close closes the socket. Callers that wait at the gate continue and find it closed.
func (r *registration) close(s socket) error {
	r.mu.Lock()
	first, held, ended := !r.closed, r.held, r.ended
	r.closed = true
	r.wakeUp()
	r.mu.Unlock()
	if first && ended {
		return nil
	}
	if first && !held {
		r.stopPassing()
	}
	return s.Close()
}

// resume opens the gate.
func (r *registration) resume() {
	r.mu.Lock()
	ended := r.ended
	closed := r.held && r.closed
	if !ended {
		r.release()
	}
	r.mu.Unlock()
	if closed && !ended {
		r.stopPassing()
	}
}

// stopPassing is called once the socket is closed and does not cross the exec any more. The path
// of an inherited socket leads to another process, too, if that has the socket.
func (r *registration) stopPassing() {
	if r.key.ownsPath() && !(r.inherited && r.registry.Beside.Serves()) && !(r.inherited && r.registry.keepPath(r.key)) {
		os.Remove(r.key.local)
	}
	r.registry.stopPassing(r.key)
	r.registry.freeNumber(r.key)
}

// unregisterIfClosed is called when a restart has nothing to wait for here.
func (r *registration) unregisterIfClosed() {
	r.mu.Lock()
	closed := r.closed && !r.held
	r.mu.Unlock()
	if closed {
		go r.unregister() // a restart holds its lock while it calls Resume
	}
}

// unfinished says what a drain waits for: n connections or packets, or the callers that are
// inside. It is called with r locked.
func (r *registration) unfinished(n int, noun string, address net.Addr) string {
	switch {
	case n == 1:
		return fmt.Sprintf("1 %s of %s %s", noun, r.key.network, address)
	case n > 1:
		return fmt.Sprintf("%d %ss of %s %s", n, noun, r.key.network, address)
	case r.inside > 0:
		return fmt.Sprintf("a call that accepts or reads on %s %s", r.key.network, address)
	default:
		return ""
	}
}
