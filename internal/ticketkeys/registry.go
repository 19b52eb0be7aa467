package ticketkeys

import (
	"slices"
	"sync"
	"time"
	"unsafe"

	"github.com/autorestart-go/autorestart/internal/image"
	"github.com/autorestart-go/autorestart/internal/passing"
)

// A registry has all sets of an image.
type registry struct {
	store *passing.Store

	mu   sync.Mutex
	sets map[string]*Set
}

func init() {
	image.TicketKeys.Make(func(i *image.Image) unsafe.Pointer {
		r := &registry{store: &i.Store, sets: map[string]*Set{}}
		i.Store.OnSettling(r.keep)
		i.Store.OnTaken(r.reload)
		return unsafe.Pointer(r)
	})
}

func currentRegistry() *registry { return (*registry)(image.TicketKeys.Of(image.Current())) }

// set returns the set with the given name. It has the keys of earlier versions.
func (r *registry) set(name string) *Set {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.sets[name]
	if s == nil {
		s = &Set{name: name, store: r.store}
		r.sets[name] = s
		r.load()
	}
	return s
}

// reload adds the keys of a stand-in that has ended to the sets.
func (r *registry) reload() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.load()
}

// load adds the keys that the store has to their sets. It is called with r locked.
func (r *registry) load() {
	for state, value := range r.store.Secrets() {
		name, ok := setOf(state)
		s := r.sets[name]
		if !ok || s == nil {
			continue
		}
		if k, ok := parseKey(state, value); ok {
			r.store.State(state) // claims it
			s.add(k)
		}
	}
}

// maxKept is the number of keys that are kept for servers that this version has not begun to serve.
// Servers that have another address in each version do not add up.
const maxKept = 256

// keep claims the keys of servers that this version has not begun to serve, when what is unclaimed
// is about to be dropped: a program may serve after it has called Ready. Expired keys are dropped.
func (r *registry) keep() {
	r.mu.Lock()
	defer r.mu.Unlock()
	var kept []*key
	for state, value := range r.store.Secrets() {
		name, ok := setOf(state)
		if !ok || r.sets[name] != nil {
			continue
		}
		if k, ok := parseKey(state, value); ok && k.decrypts(time.Now()) {
			kept = append(kept, k)
		}
	}
	slices.SortFunc(kept, func(a, b *key) int { return b.created.Compare(a.created) })
	for _, k := range kept[:min(len(kept), maxKept)] {
		r.store.State(k.state) // claims it
	}
}
