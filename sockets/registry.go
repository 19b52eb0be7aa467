package sockets

import (
	"errors"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
)

// registry contains the sockets of this process.
var registry struct {
	mu          sync.Mutex
	loaded      bool
	inherited   []key // unclaimed sockets, and announced ones
	announced   announcement
	connections []key // of inherited listeners that are unclaimed or were closed
	open        map[slot]bool
	listeners   map[*listener]bool // that are open
	keptPaths   []key              // of closed listeners; removed when there can be no rollback
}

// A slot distinguishes a socket from the others that the program has opened.
type slot struct {
	network, address string
	number           int
}

func (k key) slot() slot { return slot{k.network, k.address, k.number} }

func lockRegistry() (unlock func()) {
	r := &registry
	r.mu.Lock()
	if !r.loaded {
		r.loaded = true
		r.open, r.listeners = map[slot]bool{}, map[*listener]bool{}
		for _, k := range inheritedKeys() {
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
func claim(req *request) (k key, ok bool) {
	defer lockRegistry()()
	r := &registry
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
func unclaim(k key, req *request) {
	defer lockRegistry()()
	if k.sameCall(req) {
		delete(registry.open, k.slot())
	}
	registry.inherited = append(registry.inherited, k)
}

// claimConnections takes the connections of the listener with the given key out of the
// registry.
func claimConnections(listener key) (keys []key) {
	defer lockRegistry()()
	r := &registry
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
func anyInherited(network string) bool {
	defer lockRegistry()()
	return slices.ContainsFunc(registry.inherited, func(k key) bool {
		return withoutFamily(k.network) == withoutFamily(network)
	})
}

// reserveNumber gives k the lowest number that is free.
func reserveNumber(k key) key {
	defer lockRegistry()()
	r := &registry
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
func freeNumber(k key) {
	defer lockRegistry()()
	delete(registry.open, k.slot())
}

func addListener(l *listener) {
	defer lockRegistry()()
	registry.listeners[l] = true
}

func removeListener(l *listener) {
	defer lockRegistry()()
	delete(registry.listeners, l)
}

// keepPath reports whether the path of a listener that is being closed has to stay. The
// previous version may need it after a rollback: a main that panics closes the
// listener by a deferred Close before it is rolled back. The path is removed when
// there can be no rollback any more.
func keepPath(k key) bool {
	defer lockRegistry()()
	if !rollbackPossible() {
		return false
	}
	registry.keptPaths = append(registry.keptPaths, k)
	return true
}

func init() { onUnclaimedClosed(forgetUnclaimed) }

// forgetUnclaimed removes what is left of unclaimed sockets, which package autorestart
// has closed. Announced ones stay: they belong to this package only once it has taken
// them.
func forgetUnclaimed() {
	unlock := lockRegistry()
	r := &registry
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
