//go:build linux

package restart

import (
	"fmt"
	"time"

	"github.com/autorestart-go/autorestart/benchmarks/internal/daemon"
	"github.com/autorestart-go/autorestart/benchmarks/internal/servers"
	"github.com/autorestart-go/autorestart/benchmarks/internal/table"
	"github.com/autorestart-go/autorestart/benchmarks/internal/trailer"
)

// A fault prevents a version from answering.
type fault struct {
	does  string        // what the version does, for the table
	name  string        // in its trailer
	after time.Duration // when the rollback is due
}

var faults = []fault{
	{"panics in main", trailer.Panics, 0},
	{"is never ready", trailer.Unready, readyTimeout},
	{"hangs in an init", trailer.HangsInInit, readyTimeout},
}

// readyTimeout is how long a version may take until it is ready: longer than a sound one takes
// where the machine stands still for a moment.
const readyTimeout = 2 * time.Second

// A rollback measures deploys of versions with a fault, in turns with deploys of sound
// versions. Each version with a fault is rolled back to the version before.
type rollback struct {
	fault
	times   []time.Duration // until the version before answered again
	deploys []time.Duration // until a sound version answered
	load    phase
}

// maxRollback is how long a rollback may take from the moment when it is due, as a
// multiple of a deploy of a sound version. A rollback executes two versions.
const maxRollback = 3

func (r *rollback) run(program []byte, dir string, n int) error {
	const network = "tcp"
	return servers.With(servers.Ours, program, dir, network, []string{"-ready-timeout", readyTimeout.String()}, func(p *servers.Process, address string) error {
		l := newLoad(modes[0], network, address, nil)
		defer l.close()
		if err := l.until(p); err != nil {
			return err
		}
		var err error
		r.load, err = l.during(func() error {
			for range n {
				began, before := time.Now(), p.Current
				if err := p.Deploy(r.name); err != nil {
					return err
				}
				if err := await(p, &l.sightings, func(id daemon.Identity) bool {
					return id.Version == before.Version && id.Started != before.Started
				}); err != nil {
					return err
				}
				r.times = append(r.times, time.Since(began))

				began = time.Now()
				if err := deploy(p, &l.sightings); err != nil {
					return err
				}
				r.deploys = append(r.deploys, time.Since(began))
			}
			return nil
		})
		return err
	})
}

// Lost returns an error if a request was lost.
func (r *rollback) Lost() error {
	if n := r.load.lost.Total(); n > 0 {
		return fmt.Errorf("lost %d requests: %v", n, r.load.lost)
	}
	return nil
}

// Slow returns an error if the rollbacks took longer than they may: most of them, or
// one.
func (r *rollback) Slow() error {
	for _, of := range []func([]time.Duration) time.Duration{table.Median, table.Slowest} {
		took, deploy := of(r.times)-r.after, of(r.deploys)
		if took > maxRollback*deploy {
			return fmt.Errorf("the version before answered %v after the rollback was due, with %v for a deploy; %d times that is the limit",
				took, deploy, maxRollback)
		}
	}
	return nil
}
