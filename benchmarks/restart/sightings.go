//go:build linux

package restart

import (
	"sync/atomic"
	"time"

	"github.com/autorestart-go/autorestart/benchmarks/internal/daemon"
)

// sightings reports an answer to the goroutine that deploys.
type sightings struct {
	wanted atomic.Pointer[wanted]
}

type wanted struct {
	match func(daemon.Identity) bool
	found chan daemon.Identity
}

// saw is called by the clients with each answer.
func (s *sightings) saw(id daemon.Identity) {
	if w := s.wanted.Load(); w != nil && w.match(id) && s.wanted.CompareAndSwap(w, nil) {
		w.found <- id
	}
}

// await waits for the next answer that matches.
func (s *sightings) await(match func(daemon.Identity) bool, limit time.Duration) (daemon.Identity, bool) {
	w := &wanted{match, make(chan daemon.Identity, 1)}
	s.wanted.Store(w)
	select {
	case id := <-w.found:
		return id, true
	case <-time.After(limit):
		s.wanted.Store(nil)
		return daemon.Identity{}, false
	}
}
