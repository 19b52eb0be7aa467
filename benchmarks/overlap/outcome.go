//go:build linux

package overlap

import (
	"fmt"
	"maps"
	"time"

	"github.com/autorestart-go/autorestart/benchmarks/internal/client"
	"github.com/autorestart-go/autorestart/benchmarks/internal/servers"
	"github.com/autorestart-go/autorestart/benchmarks/internal/table"
)

// maxSlower is how much slower a request may be near a change than elsewhere.
const maxSlower = 20 * time.Millisecond

// An outcome is what comes of a load for a server, in all runs.
type outcome struct {
	load   *load
	server *servers.Server
	failed bool // a run has ended early

	deploys  int
	requests int
	lost     client.Losses
	resent   int // by net/http itself
	ended    int // connections of the keeper that should have stayed

	near, elsewhere []time.Duration // the slowest request of each deploy
	nearEach        map[string]time.Duration

	memory []int64         // in bytes, before the first deploy of each run
	peak   int64           // of the memory
	cpu    []time.Duration // of the other process of each deploy, until it was ready
}

func newOutcome(l *load, s *servers.Server) *outcome {
	return &outcome{load: l, server: s, lost: make(client.Losses), nearEach: make(map[string]time.Duration)}
}

// add adds the requests of a run, and the changes of its deploys.
func (o *outcome) add(r *run, fast, slow *traffic, deploys [][]change) {
	for _, t := range []*traffic{fast, slow} {
		o.requests += len(t.requests)
		o.resent += t.resent
		for kind, n := range maps.All(t.lost) {
			o.lost[kind] += n
		}
	}
	o.deploys += len(deploys)
	if len(deploys) > 0 {
		o.addWindows(window{fast.begun, time.Now()}, fast.requests, deploys)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	o.peak = max(o.peak, r.peak)
	for _, report := range r.reports.all {
		if report.StandIn || report.PID != r.PID() {
			o.cpu = append(o.cpu, report.CPU)
		}
	}
}

// addWindows adds the slowest requests of each deploy.
func (o *outcome) addWindows(run window, requests []request, deploys [][]change) {
	var all []window
	for _, changes := range deploys {
		all = append(all, windowsOf(changes)...)
	}
	if o.load.quick { // there are no other windows between the deploys
		all = []window{{all[0].from, all[len(all)-1].to}}
		o.compare(all, quiet(run, all, len(deploys)), all, requests)
		return
	}
	for i, changes := range deploys {
		part := run // without the other deploys
		if i > 0 {
			part.from = last(deploys[i-1]).at
		}
		if i < len(deploys)-1 {
			part.to = deploys[i+1][0].at
		}
		near := windowsOf(changes)
		o.compare(near, quiet(part, all, len(near)), all, requests)
		for j, c := range changes {
			o.nearEach[c.what] = max(o.nearEach[c.what], slowestIn(near[j:j+1], nil, requests))
		}
	}
}

// compare adds the slowest requests of two lists of windows: of those near changes, and of others,
// which leave out the requests of all changes.
func (o *outcome) compare(near, elsewhere, changes []window, requests []request) {
	o.near = append(o.near, slowestIn(near, nil, requests))
	o.elsewhere = append(o.elsewhere, slowestIn(elsewhere, changes, requests))
}

func last(changes []change) change { return changes[len(changes)-1] }

// slower returns how much slower the slowest request near a change was than the slowest elsewhere,
// in the median of the deploys.
func (o *outcome) slower() time.Duration {
	return table.Median(o.near) - table.Slowest(o.elsewhere)
}

// Lost returns an error if something was lost.
func (o *outcome) Lost() error {
	switch n := o.lost.Total(); {
	case n > 0:
		return fmt.Errorf("lost %d of %d requests: %v", n, o.requests, o.lost)
	case o.ended > 0:
		return fmt.Errorf("%d connections have ended that should have stayed", o.ended)
	}
	return nil
}

// Slow returns an error if requests took longer than they may.
func (o *outcome) Slow() error {
	if d := o.slower(); o.load.timed && d > maxSlower {
		return fmt.Errorf("in the median of %d deploys, the slowest request near a change took %v longer than the slowest elsewhere, %v at most are allowed; near: %v; elsewhere: %v",
			len(o.near), d, maxSlower, o.near, o.elsewhere)
	}
	return nil
}
