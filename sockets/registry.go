package sockets

import (
	"errors"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"

	"github.com/autorestart-go/autorestart/internal/image"
)

// A registry contains the sockets of an image of the process.
type registry struct {
	*image.Image

	mu          sync.Mutex
	loaded      bool
	inherited   []key // unclaimed sockets, and announced ones
	announced   announcement
	connections []key // of inherited listeners that are unclaimed or were closed
	open        map[slot]bool
	listeners   map[*listener]bool // that are open
	packets     map[*packets]bool  // likewise
	retiring    map[*retirement]bool
	keptPaths   []key // of closed listeners; removed when there can be no rollback
	shared      []key // see sharing.go
	offered     []key // the same of a process that does not serve yet

	giver giver
}

// A slot distinguishes a socket from the others that the program has opened.
type slot struct {
	network, address string
	number           int
}

func (k key) slot() slot { return slot{k.network, k.address, k.number} }

func (r *registry) lock() (unlock func()) {
	r.mu.Lock()
	if !r.loaded {
		r.loaded = true
		r.open, r.listeners = map[slot]bool{}, map[*listener]bool{}
		r.packets, r.retiring = map[*packets]bool{}, map[*retirement]bool{}
		for _, k := range r.inheritedKeys() {
			if k.isConnection() {
				k.avoidNumber()
				r.connections = append(r.connections, k)
			} else {
				r.inherited = append(r.inherited, k)
			}
		}
	}
	return r.mu.Unlock
}

// claim takes the inherited socket that matches the request best out of the registry,
// if there is one.
func (r *registry) claim(req *request) (k key, ok bool) {
	defer r.lock()()
	i := bestMatch(r.inherited, req)
	if i < 0 {
		return key{}, false
	}
	k = r.inherited[i]
	r.inherited = slices.Delete(r.inherited, i, i+1)
	if k.sameCall(req) {
		r.open[k.slot()] = true
	}
	return k, true
}

// unclaim undoes claim.
func (r *registry) unclaim(k key, req *request) {
	defer r.lock()()
	if k.sameCall(req) {
		delete(r.open, k.slot())
	}
	r.inherited = append(r.inherited, k)
}

// claimConnections takes the connections of the listener with the given key out of the
// registry.
func (r *registry) claimConnections(listener key) (keys []key) {
	defer r.lock()()
	r.connections = slices.DeleteFunc(r.connections, func(k key) bool {
		if k.slot() != listener.slot() {
			return false
		}
		keys = append(keys, k)
		return true
	})
	return keys
}

// anyInherited reports whether there is an unclaimed socket of that network.
func (r *registry) anyInherited(network string) bool {
	defer r.lock()()
	return slices.ContainsFunc(r.inherited, func(k key) bool {
		return withoutFamily(k.network) == withoutFamily(network)
	})
}

// reserveNumber gives k the lowest number that is free.
func (r *registry) reserveNumber(k key) key {
	defer r.lock()()
	inUse := func() bool {
		return r.open[k.slot()] || slices.ContainsFunc(r.inherited, func(other key) bool {
			return other.isOpened() && other.slot() == k.slot()
		})
	}
	for k.number = 0; inUse(); k.number++ {
	}
	r.open[k.slot()] = true
	return k
}

// freeNumber undoes reserveNumber.
func (r *registry) freeNumber(k key) {
	defer r.lock()()
	delete(r.open, k.slot())
}

func (r *registry) addListener(l *listener) {
	defer r.lock()()
	r.listeners[l] = true
}

func (r *registry) removeListener(l *listener) {
	defer r.lock()()
	delete(r.listeners, l)
}

func (r *registry) addPackets(p *packets) {
	defer r.lock()()
	r.packets[p] = true
}

func (r *registry) removePackets(p *packets) {
	defer r.lock()()
	delete(r.packets, p)
}

func (r *registry) addRetirement(t *retirement) {
	defer r.lock()()
	r.retiring[t] = true
}

func (r *registry) removeRetirement(t *retirement) {
	defer r.lock()()
	delete(r.retiring, t)
}

// keepPath reports whether the path of a listener that is being closed has to stay. The
// previous version may need it after a rollback: a main that panics closes the
// listener by a deferred Close before it is rolled back. The path is removed when
// there can be no rollback any more.
func (r *registry) keepPath(k key) bool {
	defer r.lock()()
	if !r.rollbackPossible() {
		return false
	}
	r.keptPaths = append(r.keptPaths, k)
	return true
}

// forgetUnclaimed removes what is left of unclaimed sockets, which package autorestart
// has closed. Announced ones stay: they belong to this package only once it has taken
// them.
func (r *registry) forgetUnclaimed() {
	unlock := r.lock()
	forgotten := r.keptPaths
	r.keptPaths = nil
	r.inherited = slices.DeleteFunc(r.inherited, func(k key) bool {
		if k.kind == announced {
			return false
		}
		forgotten = append(forgotten, k)
		return true
	})
	unlock()
	for _, k := range forgotten {
		if k.ownsPath() {
			removeUnusedPath(k.network, k.local)
		}
	}
}

// removeUnusedPath removes the path of a listener that is closed, unless there is
// another listener by now.
func removeUnusedPath(network, path string) {
	conn, err := net.Dial(network, path)
	if err == nil {
		conn.Close()
	} else if errors.Is(err, syscall.ECONNREFUSED) {
		os.Remove(path)
	}
}
