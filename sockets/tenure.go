package sockets

import (
	"os"

	"github.com/autorestart-go/autorestart"
)

// tenure is the part that a socket has in restarts: it is brought to rest before
// the exec and crosses it, until the program closes it.
//
// If that happens while a restart is under way, the socket crosses even so, unless
// the restart is called off: to shut a server down before the exec is a widespread
// habit, and not meant for the version that follows.
type tenure struct {
	gate
	key        key
	inherited  bool
	unregister func()
}

func (t *tenure) begin(d autorestart.Drainer) { t.unregister = autorestart.RegisterDrainer(d) }

// close lets everybody through the gate, to find the socket closed.
func (t *tenure) close(s socket) error {
	t.mu.Lock()
	first, resting := !t.closed, t.held
	t.closed = true
	t.broadcast()
	t.mu.Unlock()
	if first && !resting {
		t.give()
	}
	return s.Close()
}

// resume opens the gate.
func (t *tenure) resume() {
	t.mu.Lock()
	closed := t.held && t.closed
	t.release()
	t.mu.Unlock()
	if closed {
		t.give()
	}
}

// give gives the socket up.
func (t *tenure) give() {
	if t.key.ownsPath() && !(t.inherited && mayBeNeeded(t.key)) {
		os.Remove(t.key.local)
	}
	withdraw(t.key)
}

// over is called when there is nothing left to wait for in a restart.
func (t *tenure) over() {
	t.mu.Lock()
	over := t.closed && !t.held
	t.mu.Unlock()
	if over {
		go t.unregister() // it may wait for a restart to end that waits for the caller
	}
}
