//go:build linux

package overlap

import (
	"path/filepath"
	"time"

	"github.com/autorestart-go/autorestart/benchmarks/internal/servers"
)

// A load is what a server has to do during deploys.
type load struct {
	name    string
	deploys int           // in each run
	fault   string        // of the versions; "" if they work
	start   time.Duration // of a version
	slow    time.Duration // that some requests take; zero if there are none
	drain   time.Duration // DrainTimeout
	quick   bool          // a version is deployed as soon as the previous one is ready
	newer   bool          // a newer version is deployed during the drain
	timed   bool          // the time that requests take is limited
	kept    keeper        // of connections; nil if there are none
}

// A keeper keeps connections beside the traffic.
type keeper interface {
	open(r *run) error
	restarted(r *run)
	close(r *run) (ended int)
}

const (
	// calm is how long there is traffic alone before the first deploy and after each. A window
	// fits between those of changes.
	calm = windowSize * 5 / 2

	// readyTimeout is that of versions that work, beside the time of their start. It is
	// longer than a machine stands still.
	readyTimeout = 30 * time.Second

	// failTimeout is that of versions which are never ready.
	failTimeout = time.Second / 2
)

// run deploys versions of a server under the load, and adds what comes of it to o.
func (l *load) run(s *servers.Server, program []byte, dir string, o *outcome) error {
	socket, reports := filepath.Join(dir, "unix"), filepath.Join(dir, "reports")
	ready := readyTimeout + l.start
	if l.fault != "" {
		ready = failTimeout
	}
	args := []string{"-unix", socket, "-report", reports, "-delay", l.start.String(), "-ready-timeout", ready.String()}
	if s == servers.Ours {
		args = append(args, "-overlap", "-drain-timeout", l.drain.String())
	}
	limit := 2*(l.start+l.drain) + ready
	if !s.Strict {
		limit = 10*time.Second + 2*(l.start+l.slow) // a server that is stuck costs no more
	}
	return servers.With(s, program, dir, "tcp", args, func(p *servers.Process, address string) error {
		r := &run{
			load: l, Process: p, processes: observe(p.PID(), reports),
			endpoints: []endpoint{{"tcp", address}, {"unix", socket}},
			limit:     limit,
		}
		defer r.processes.close()
		return r.run(o)
	})
}

func (r *run) run(o *outcome) error {
	if err := r.awaitReady(); err != nil {
		return err
	}
	before, err := r.openDescriptors()
	if err != nil {
		return err
	}
	if r.kept != nil {
		if err := r.kept.open(r); err != nil {
			return err
		}
	}
	fast, slow := fastTraffic(r.endpoints), newTraffic()
	if r.slow > 0 {
		slow = slowTraffic(r.endpoints, r.slow)
	}
	time.Sleep(calm) // traffic only
	o.memory = append(o.memory, r.memoryNow())
	deploys, err := r.deployAll()
	fast.end()
	slow.end()
	o.add(r, fast, slow, deploys)
	if r.kept != nil {
		o.ended += r.kept.close(r)
	}
	if err == nil {
		err = r.awaitAlone()
	}
	if err == nil {
		err = r.checkRest(before)
	}
	return err
}

// deployAll makes all deploys of the run, and returns the changes of each.
func (r *run) deployAll() (deploys [][]change, err error) {
	for range r.deploys {
		changes, err := r.deploy()
		if err != nil {
			return deploys, err
		}
		deploys = append(deploys, changes)
		if r.kept != nil {
			r.kept.restarted(r)
		}
		if !r.quick {
			time.Sleep(calm) // traffic only
		}
	}
	return deploys, nil
}

// windowsOf returns the windows around changes.
func windowsOf(changes []change) (windows []window) {
	for _, c := range changes {
		windows = append(windows, around(c.at))
	}
	return windows
}
