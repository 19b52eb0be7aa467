package sockets

import (
	"fmt"
	"net"
	"os"
	"time"

	"github.com/autorestart-go/autorestart"
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
	reading    bool                // in a drain, although that does not hold the gate: see keeping.go
	muting     muting              // while another process takes what comes
	ended      bool                // the socket is closed, and the program has not closed it: see lost.go
	order      int                 // see Config.DrainOrder
	drainer    autorestart.Drainer // that is registered
	unregister func()              // as a drainer
}

func newRegistration(r *registry, k key, inherited bool, arm func(time.Time) error, c *Config) registration {
	return registration{gate: gate{arm: arm}, registry: r, key: k, inherited: inherited, order: c.DrainOrder}
}

// close closes the socket. Callers that wait at the gate continue and find it closed.
func (r *registration) close(s socket) error {
	r.holdInDrain()
	r.mu.Lock()
	first, drained, ended := !r.closed, r.held || r.reading, r.ended
	r.closed = true
	r.wakeUp()
	r.mu.Unlock()
	if first && ended {
		return nil
	}
	if first && !drained {
		r.stopPassing()
	}
	return s.Close()
}

// holdInDrain is called before the socket is closed. A socket whose turn in a drain has not come
// is quiesced now: programs shut their servers down as soon as the channel of
// [autorestart.Draining] is closed.
func (r *registration) holdInDrain() {
	if !r.registry.isDraining() {
		return
	}
	r.mu.Lock()
	early := !r.held && !r.reading && !r.closed
	if early {
		r.hold()
	}
	r.mu.Unlock()
	if early && !r.registry.quiesceNow(r.drainer) { // the drain was called off meanwhile
		r.mu.Lock()
		r.release()
		r.mu.Unlock()
	}
}

// resume opens the gate.
func (r *registration) resume() {
	r.mu.Lock()
	ended := r.ended
	closed := (r.held || r.reading) && r.closed
	r.reading = false
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
	closed := r.closed && !r.held && !r.reading
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
