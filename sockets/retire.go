package sockets

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"
)

// A version may open fewer sockets with the same address (SO_REUSEPORT) than the previous one.
// The kernel spreads clients over all of them, so some wait in the queues of those that are
// unclaimed. Once this version is ready, another listener with their address takes the clients
// over. The same holds for a Unix socket whose path leads to a new one.
//
// As long as the previous version may be executed again, it needs the sockets: they stay as they
// are. When there can be no rollback any more, they are closed, unless there is a stand-in.

// retireTime is how long a retirement takes. A client that asks for a connection meanwhile is
// not answered, and asks again after a second: then only sockets are left that stay.
const retireTime = 900 * time.Millisecond

// A retirement is the end of an unclaimed listener. It crosses an exec that comes earlier,
// to the next version or back to the previous one, under the key that it had.
type retirement struct {
	registry   *registry
	key        key
	heir       *listener
	unregister func()

	mu    sync.Mutex
	taker *taker // nil while it is stopped
}

// retireUnclaimed retires the unclaimed listeners whose address is that of an open one.
func (r *registry) retireUnclaimed() {
	if !hasExec {
		return
	}
	var retiring []*retirement
	unlock := r.lock()
	r.inherited = slices.DeleteFunc(r.inherited, func(k key) bool {
		heir := r.listenerWith(k)
		if heir == nil {
			return false
		}
		r.open[k.slot()] = true
		retiring = append(retiring, &retirement{registry: r, key: k, heir: heir})
		return true
	})
	unlock()
	for _, r := range retiring {
		r.begin()
	}
}

// listenerWith returns an open listener of the same network and address as the unclaimed one
// with the key k, or nil. It is called with the registry locked.
func (r *registry) listenerWith(k key) *listener {
	if k.kind != opened {
		return nil // systemd has it, too
	}
	for l := range r.listeners {
		if l.key.local == k.local && withoutFamily(l.key.network) == withoutFamily(k.network) {
			return l
		}
	}
	return nil
}

func (r *retirement) begin() {
	r.heir.inheritConnections(r.key)
	r.heir.interrupt()
	unregister, remove := r.registry.registerDrainer(r), r.registry.beforeExec(r.stop)
	r.unregister = func() {
		unregister()
		remove()
	}
	r.registry.addRetirement(r)
	r.Resume()
	if r.registry.rollbackPossible() {
		r.registry.Store.OnSettled(r.restart)
	}
}

// restartRetirements is called before the first stand-in starts, and after the last one has ended. A
// stand-in has copies of the sockets, so that this process can't close them.
func (r *registry) restartRetirements() {
	unlock := r.lock()
	retiring := slices.Collect(maps.Keys(r.retiring))
	unlock()
	for _, t := range retiring {
		t.restart()
	}
}

// restart is called when what decides about the end of the socket has changed.
func (r *retirement) restart() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.taker != nil { // or an exec is under way
		r.stopTaking()
		r.take()
	}
}

// Resume begins to take the clients over, at first and after an exec that has failed.
func (r *retirement) Resume() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.taker == nil {
		r.take()
	}
}

// take is called with r locked.
func (r *retirement) take() {
	f, err := r.registry.inheritedFile(r.key)
	if err != nil {
		r.registry.stopPassing(r.key)
		return
	}
	setNonblock(f, true)
	var undo func(fd int)
	if beside := &r.registry.Beside; !r.registry.rollbackPossible() && !beside.Serves() && !beside.Present() { // otherwise the socket stays
		// Without it, clients whose handshake is under way at the end are reset.
		withDescriptor(f, func(fd int) { undo = dropSYN(fd) })
	}
	t := newTaker(f, r.heir, undo)
	r.taker = t
	if undo != nil {
		time.AfterFunc(retireTime, func() { r.end(t) })
	}
}

// Quiesce leaves the clients to the process beside this one, if there is one. Otherwise they
// are taken until right before the exec.
func (r *retirement) Quiesce() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.taker != nil && r.registry.Beside.Serves() {
		withDescriptor(r.taker.socket, r.taker.acceptSYN)
		r.taker.end()
		r.taker.socket.Close()
		r.taker = nil
	}
	if r.registry.Beside.Leaves() {
		r.remove()
	}
}

// lose ends the retirement at once: no other process has the socket.
func (r *retirement) lose() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.taker != nil {
		r.endTaking()
	}
	r.remove()
}

// remove closes the socket. It is called with r locked.
func (r *retirement) remove() {
	r.registry.stopPassing(r.key)
	r.registry.freeNumber(r.key)
	r.registry.removeRetirement(r)
	go r.unregister()
}

func (r *retirement) Drain(context.Context) error { return nil }

// stop makes the socket one that the next version can claim.
func (r *retirement) stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.taker != nil {
		r.stopTaking()
	}
}

// stopTaking is called with r locked.
func (r *retirement) stopTaking() {
	withDescriptor(r.taker.socket, r.taker.acceptSYN)
	r.endTaking()
}

// endTaking takes what is in the queue at the end. It is called with r locked.
func (r *retirement) endTaking() {
	t := r.taker
	r.taker = nil
	t.end()
	withDescriptor(t.socket, func(fd int) {
		for range 1 << 16 { // clients may come as fast
			conn, err := acceptOne(fd)
			if err != nil {
				return
			}
			t.acceptSYN(conn.Int())
			r.heir.addNewcomer(conn)
		}
	})
	t.socket.Close()
}

// end closes the socket if t is still its taker. Otherwise an exec is under way, or has failed
// meanwhile, and the time has begun again.
func (r *retirement) end(t *taker) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.taker != t {
		return
	}
	r.endTaking()
	r.remove()
}
