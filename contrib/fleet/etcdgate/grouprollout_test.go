//go:build linux

package etcdgate

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/contrib/fleet/internal/rollout"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// A groupRollout is a group of members that execute nothing, to which a version is deployed that may be bad,
// and then one that is good.
type groupRollout struct {
	*testFleet
	seed     uint64
	versions []*simulatedVersion
	members  []*simulatedMember

	mu                           sync.Mutex
	holding                      map[string]bool // by their own log
	executions                   []execution
	rolledBack, crashed, refused int
}

// An execution is an exec.
type execution struct{ member, version string }

type simulatedVersion struct {
	name, hash string
	exe        *os.File
	bad        bool
}

type simulatedMember struct {
	*groupRollout
	*rand.Rand
	name    string
	gate    *Gate
	running string // hash
}

func newRollout(t *testing.T, client *clientv3.Client, seed uint64) *groupRollout {
	r := rand.New(rand.NewPCG(seed, 1))
	g := &groupRollout{
		testFleet: &testFleet{T: t, client: client, template: &Gate{
			Group: fmt.Sprint("group", seed), Service: "s", Max: 1 + r.IntN(3), Canaries: r.IntN(3), WaitTTL: 5 * time.Second,
			HealthyFor: time.Duration(r.IntN(2)) * 20 * time.Millisecond, timeout: time.Second,
		}},
		seed: seed, holding: map[string]bool{},
	}
	for i := range 2 {
		v := &simulatedVersion{name: fmt.Sprintf("v%d of %d", i+1, seed), bad: i == 0 && r.IntN(2) == 0}
		v.exe, v.hash = g.version(v.name)
		g.versions = append(g.versions, v)
	}
	for i := range 3 + r.IntN(4) {
		m := &simulatedMember{groupRollout: g, Rand: rand.New(rand.NewPCG(seed, uint64(2+i))), name: fmt.Sprint("m", i), running: "v0"}
		m.start()
		g.members = append(g.members, m)
	}
	return g
}

func (g *groupRollout) run() {
	began := time.Now()
	fixed, fix := context.WithCancelCause(g.Context())
	time.AfterFunc(time.Duration(200+g.seed%800)*time.Millisecond, func() { fix(errNewer) })
	var running sync.WaitGroup
	for _, m := range g.members {
		running.Go(func() {
			m.deployed(fixed, g.versions[0])
			<-fixed.Done()
			m.deployed(g.Context(), g.versions[1])
		})
	}
	running.Wait()
	for _, m := range g.members {
		if m.running != g.versions[1].hash {
			g.Errorf("seed %d: %s does not run the fixed version\n%s", g.seed, m.name, g.log.String())
		}
		m.gate.Close()
	}
	g.checkHistory()
	g.Logf("seed %d: %d members, max %d, canaries %d, bad %v: %v", g.seed, len(g.members), g.template.Max, g.template.Canaries, g.versions[0].bad,
		time.Since(began).Round(time.Millisecond))
}

// start is for an image that begins.
func (m *simulatedMember) start() {
	if m.gate != nil {
		m.gate.Close() // what was in the background of the image before is gone
	}
	m.gate = m.image(m.name)
	m.gate.running = m.running
}

// deployed does what a Restarter does with a version at the path, until ctx ends.
func (m *simulatedMember) deployed(ctx context.Context, v *simulatedVersion) {
	for ctx.Err() == nil && m.running != v.hash {
		state, err := m.gate.Acquire(ctx, change(v.name), v.exe)
		if rejected, ok := errors.AsType[*autorestart.RejectedError](err); ok && rejected.Retryable {
			m.count(&m.refused)
			continue
		}
		if err != nil {
			if ctx.Err() == nil {
				m.Errorf("seed %d: %s: %v", m.seed, m.name, err)
			}
			return
		}
		if !m.execute(ctx, v, state) {
			return
		}
	}
}

// execute reports whether to go on with the version.
func (m *simulatedMember) execute(ctx context.Context, v *simulatedVersion, state []byte) bool {
	m.hold(true)
	if ctx.Err() != nil { // another file is at the path
		m.hold(false)
		m.ended(autorestart.GateCalledOff, state)
		return false
	}
	previous := m.running
	m.running = v.hash
	m.mu.Lock()
	m.executions = append(m.executions, execution{m.name, v.hash})
	m.mu.Unlock()
	m.start()
	time.Sleep(time.Duration(m.IntN(20)) * time.Millisecond)
	switch {
	case v.bad:
		m.running = previous
		m.start()
		m.count(&m.rolledBack)
		m.hold(false)
		m.ended(autorestart.GateRolledBack, state)
		return false
	case m.IntN(8) == 0:
		m.start()
		m.count(&m.crashed)
		m.hold(false)
		m.ended(autorestart.GateReady, nil)
	default:
		m.hold(false)
		m.ended(autorestart.GateReady, state)
	}
	return true
}

func (m *simulatedMember) ended(outcome autorestart.GateOutcome, state []byte) {
	ctx, cancel := testprocess.WithTimeout(m.Context(), 3*testprocess.Timeout)
	defer cancel()
	r := autorestart.GateResult{Outcome: outcome, State: state}
	if outcome == autorestart.GateRolledBack {
		r.Err = errors.New("it is bad")
	}
	if err := m.gate.Release(ctx, r); err != nil {
		m.Errorf("seed %d: %s, %v: %v\n%s", m.seed, m.name, outcome, err, m.log.String())
	}
}

func (g *groupRollout) count(n *int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	*n++
}

// hold notes that a member holds a slot, or gives it back from now on.
func (m *simulatedMember) hold(holds bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !holds {
		delete(m.holding, m.name)
		return
	}
	m.holding[m.name] = true
	if len(m.holding) > m.template.Max {
		m.Errorf("seed %d: %v hold %d slots", m.seed, m.holding, m.template.Max)
	}
}

// checkHistory compares what the members have done with what etcd has kept of the document.
func (g *groupRollout) checkHistory() {
	documents := g.history()
	last := documents[len(documents)-1]
	if len(last.Holders) > 0 {
		g.Errorf("seed %d: %+v still hold slots\n%s", g.seed, last.Holders, g.log.String())
	}
	grants, failed := map[execution]int{}, map[string]bool{}
	before := new(rollout.Document)
	for i, d := range documents {
		if len(d.Holders) > d.Max {
			g.Errorf("seed %d, change %d: %d holders of %d slots", g.seed, i, len(d.Holders), d.Max)
		}
		if d.Grants > before.Grants {
			h := granted(before, d)
			grants[h]++
			if failed[h.version] {
				g.Errorf("seed %d, change %d: %v got a slot for a version that has failed", g.seed, i, h)
			}
		}
		for hash, v := range d.Versions {
			failed[hash] = v.Failed != nil
			if !v.Proven && d.Canaries > 0 && len(v.Canaries) > d.Canaries {
				g.Errorf("seed %d, change %d: canaries are %v", g.seed, i, v.Canaries)
			}
		}
		before = d
	}
	ran := map[string]map[string]bool{}
	for _, e := range g.executions {
		if grants[e]--; grants[e] < 0 {
			g.Errorf("seed %d: %v without a slot", g.seed, e)
		}
		if ran[e.version] == nil {
			ran[e.version] = map[string]bool{}
		}
		ran[e.version][e.member] = true
	}
	if bad := g.versions[0]; bad.bad {
		limit := g.template.Max
		if g.template.Canaries > 0 {
			limit = min(limit, g.template.Canaries)
		}
		if n := len(ran[bad.hash]); n > limit {
			g.Errorf("seed %d: %d members have executed the bad version; max %d, canaries %d", g.seed, n, g.template.Max, g.template.Canaries)
		}
	}
}

// granted returns the slot that the second document has more than the first, or for a version newly.
func granted(before, after *rollout.Document) execution {
	i := slices.IndexFunc(after.Holders, func(h rollout.Holder) bool {
		had := before.Holder(h.Member)
		return had == nil || had.Version != h.Version || had.State != h.State || !had.Since.Equal(h.Since)
	})
	if i < 0 {
		return execution{}
	}
	return execution{after.Holders[i].Member, after.Holders[i].Version}
}

// history returns all revisions of the document.
func (g *groupRollout) history() (documents []*rollout.Document) {
	ctx, cancel := testprocess.WithTimeout(g.Context(), 2*testprocess.Timeout)
	defer cancel()
	key := "/autorestart/" + g.template.Group + "/state"
	var now *clientv3.GetResponse
	testprocess.WaitFor(g, "answer", func() (ok bool) {
		request, cancel := testprocess.WithTimeout(ctx, time.Second)
		defer cancel()
		r, err := g.client.Get(request, key)
		now = r
		return err == nil
	})
	for r := range g.client.Watch(ctx, key, clientv3.WithRev(now.Kvs[0].CreateRevision)) {
		for _, event := range r.Events {
			d, err := rollout.Parse(event.Kv.Value)
			if err != nil {
				g.Fatal(err)
			}
			documents = append(documents, d)
			if event.Kv.ModRevision >= now.Kvs[0].ModRevision {
				return documents
			}
		}
	}
	g.Fatalf("seed %d: the history has %d revisions of %d", g.seed, len(documents), now.Kvs[0].Version)
	return nil
}
