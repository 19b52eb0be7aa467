//go:build linux

package restart

import (
	"fmt"
	"time"

	"github.com/autorestart-go/autorestart/benchmarks/restart/internal/daemon"
	"github.com/autorestart-go/autorestart/benchmarks/restart/internal/trailer"
)

// A fault keeps a version from answering.
type fault struct {
	does  string // what the version does
	name  string // what its trailer says
	after time.Duration
}

var faults = []fault{
	{"panics in main", trailer.Panics, 0},
	{"is never ready", trailer.Unready, daemon.ReadyTimeout},
	{"hangs in an init", trailer.HangsInInit, daemon.ReadyTimeout},
}

// A rollback is deploys of versions with a fault, each of which the one before
// has to replace again.
type rollback struct {
	fault
	times []time.Duration // until that answered
	load  phase
}

// maxRollback is how long they may take, from when it is plain that a version
// has a fault.
const maxRollback = 50 * time.Millisecond

func (r *rollback) run(program []byte, dir string, n int) error {
	const network = "tcp"
	return withProcess(ours, program, dir, network, nil, func(p *process, address string) error {
		l := newLoad(modes[0], network, address, nil)
		defer l.close()
		if err := l.until(p); err != nil {
			return err
		}
		var err error
		r.load, err = l.during(func() error {
			for range n {
				began, before := time.Now(), p.current
				if err := p.install(r.name); err != nil {
					return err
				}
				if err := p.await(&l.sightings, func(id daemon.Identity) bool {
					return id.Version == before.Version && id.Started != before.Started
				}); err != nil {
					return err
				}
				r.times = append(r.times, time.Since(began))
			}
			return p.deploy(&l.sightings) // that is not the end of it
		})
		return err
	})
}

// lost returns an error if a request was lost.
func (r *rollback) lost() error {
	if n := r.load.lost.total(); n > 0 {
		return fmt.Errorf("lost %d requests: %v", n, r.load.lost)
	}
	return nil
}

// slow returns an error if the version before took longer than it may.
func (r *rollback) slow() error {
	for _, t := range r.times {
		if t > r.after+maxRollback {
			return fmt.Errorf("the version before answered %v after the deploy", t)
		}
	}
	return nil
}
