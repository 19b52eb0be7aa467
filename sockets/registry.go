package sockets

import (
	"errors"
	"net"
	"os"
	"slices"
	"sync"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/internal/handover"
)

// registry are the sockets of this process.
var registry struct {
	mu        sync.Mutex
	loaded    bool
	inherited []key // nobody has asked for them
	accepted  []key // connections of those, or of what was closed
	open      map[slot]bool
	given     []key // whose paths stay until this version is ready
	settled   bool
}

// slot is a socket among those that the program has opened.
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
		r.open = map[slot]bool{}
		for _, name := range autorestart.InheritedNames() {
			switch k, ok := parseKey(name); {
			case !ok:
			case k.kind == accepted, k.kind == closing:
				r.accepted = append(r.accepted, k)
			default:
				r.inherited = append(r.inherited, k)
			}
		}
	}
	return r.mu.Unlock
}

// claim has the inherited socket that the request means, if any, be the
// caller's.
func claim(req *request) (k key, ok bool) {
	defer lockRegistry()()
	r := &registry
	i := choose(r.inherited, req)
	if i < 0 {
		return key{}, false
	}
	k = r.inherited[i]
	r.inherited = slices.Delete(r.inherited, i, i+1)
	if k.answers(req) {
		r.open[k.slot()] = true
	}
	return k, true
}

// unclaim gives back what was claimed for the request, and could not be used.
func unclaim(k key, req *request) {
	defer lockRegistry()()
	if k.answers(req) {
		delete(registry.open, k.slot())
	}
	registry.inherited = append(registry.inherited, k)
}

// claimConnections returns the keys of the connections of the listener with the given
// key. They are the caller's.
func claimConnections(listener key) (keys []key) {
	defer lockRegistry()()
	r := &registry
	r.accepted = slices.DeleteFunc(r.accepted, func(k key) bool {
		if k.slot() != listener.slot() {
			return false
		}
		keys = append(keys, k)
		return true
	})
	return keys
}

// anyInherited reports whether there is a socket of that network which nobody has
// asked for.
func anyInherited(network string) bool {
	defer lockRegistry()()
	return slices.ContainsFunc(registry.inherited, func(k key) bool { return base(k.network) == base(network) })
}

// reserve gives k the lowest number that is free.
func reserve(k key) key {
	defer lockRegistry()()
	r := &registry
	taken := func() bool {
		return r.open[k.slot()] || slices.ContainsFunc(r.inherited, func(other key) bool {
			return other.kind != unasked && other.slot() == k.slot()
		})
	}
	for k.number = 0; taken(); k.number++ {
	}
	r.open[k.slot()] = true
	return k
}

func vacate(k key) {
	defer lockRegistry()()
	delete(registry.open, k.slot())
}

// mayBeNeeded reports whether the version before may come back and need the path of
// the socket, which this one has closed, as main does that panics with a deferred
// Close. Then it is removed when this version is ready.
func mayBeNeeded(k key) bool {
	defer lockRegistry()()
	r := &registry
	// Not handover.OnProbation, whose lock is held when everything resumes because
	// nobody could come back.
	if r.settled || handover.Taken.Number(handover.ReadyWithin) == 0 {
		return false
	}
	r.given = append(r.given, k)
	return true
}

func init() { handover.Settled = dropInherited }

// dropInherited lets go of what nobody has asked for; the root package has closed all
// of it that an image before has left.
func dropInherited() {
	unlock := lockRegistry()
	dropped := append(registry.inherited, registry.given...)
	registry.inherited, registry.given, registry.settled = nil, nil, true
	unlock()
	for _, k := range dropped {
		if k.kind == unasked {
			if autorestart.Generation() == 0 {
				handover.Notice("closed what systemd has passed and nobody asked for", "address", k.local, "name", k.name)
			}
			autorestart.Pass(k.String(), nil)
		}
		if k.ownsPath() {
			removeDead(k.local, k.network)
		}
	}
}

// removeDead removes the path of a listener that is closed, unless another listens
// there by now.
func removeDead(path, network string) {
	conn, err := net.Dial(network, path)
	if err == nil {
		conn.Close()
	} else if errors.Is(err, errRefused) {
		os.Remove(path)
	}
}
