package rollout_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart/contrib/fleet/internal/rollout"
	"github.com/autorestart-go/autorestart/internal/simulation"
)

// TestSimulation deploys versions to simulated members, of which some are bad, while processes end, keys
// of leases go, reads are stale, and transactions get lost or come late. Whatever happens:
//
//   - no more than Max members hold a slot, and who executes a version holds one
//   - no more than Canaries members have executed a version before it was proven
//   - no slot is given for a version after it has failed
//   - once nothing goes wrong any more, each member runs the version at its path, or that has failed
//
// Operators clear versions and take slots away meanwhile. The clocks of the members differ by years.
func TestSimulation(t *testing.T) { simulation.Run(t, 2500, simulate) }

// TestSimulationRepeats: a schedule follows from its seed.
func TestSimulationRepeats(t *testing.T) { simulation.Repeats(t, 50, simulate) }

// A world is the members of a group, and what the group has in etcd.
type world struct {
	*simulation.Schedule
	store     *store
	history   []snapshot // for reads that are stale
	inFlight  []write    // that the members don't know of
	members   []*member
	previous  map[string]string // the version that a member goes back to
	bad       map[string]int    // of a version: it fails in one of so many executions
	faulty    int               // one of so many requests fails; 0: none
	calm      bool
	versions  int
	ran       map[string][]string // the members that have executed a version before it was proven
	confirmed map[string]bool     // the versions that have failed
	released  map[string]bool     // members whose slot was taken away; true: by an operator, who takes them for gone
}

func simulate(t *testing.T, s *simulation.Schedule) {
	doc := &rollout.Document{Format: rollout.Format, Service: "s", Max: 1 + s.IntN(3), Canaries: s.IntN(4), HealthyFor: rollout.Duration(s.IntN(2)), Versions: map[string]*rollout.Version{}}
	w := &world{
		Schedule: s, store: &store{revision: 1, modified: 1, doc: doc, alive: map[string]bool{}},
		previous: map[string]string{}, bad: map[string]int{}, faulty: []int{0, 2, 5, 20}[s.IntN(4)],
		ran: map[string][]string{}, confirmed: map[string]bool{}, released: map[string]bool{},
	}
	for i := range 2 + s.IntN(8) {
		w.members = append(w.members, &member{world: w, name: fmt.Sprint("m", i), vanishes: s.Chance(4), clock: time.Unix(int64(s.IntN(1<<31)), 0), disk: "v0", running: "v0"})
	}
	s.Tracef("max %d, canaries %d, %d members, faulty %d", doc.Max, doc.Canaries, len(w.members), w.faulty)
	for range 50 + s.IntN(500) {
		w.step()
	}
	w.settle()
}

func (w *world) step() {
	m := w.members[w.IntN(len(w.members))]
	switch n := w.IntN(100); {
	case n < 3:
		w.deploy()
	case n < 5 && m.phase != dead:
		m.crash()
	case n < 7: // a lease ends
		w.store.dequeue(m.name)
	case n < 8 && w.store.alive[m.name]:
		w.Tracef("%s has vanished", m.name)
		delete(w.store.alive, m.name)
		if !w.released[m.name] {
			w.released[m.name] = false
		}
	case n < 9:
		w.operate(m)
	case n < 14:
		w.deliver()
	default:
		m.step()
	}
	w.check()
}

// deploy puts a version, which may be an earlier one, at the paths of all members, or of some.
func (w *world) deploy() {
	version := fmt.Sprint("v", w.IntN(w.versions+1))
	if !w.Chance(4) {
		w.versions++
		version = fmt.Sprint("v", w.versions)
		if w.Chance(2) {
			w.bad[version] = 1 + w.IntN(3)
		}
	}
	w.Tracef("%s is deployed, bad %d", version, w.bad[version])
	all := w.Chance(2)
	for _, m := range w.members {
		if all || w.Chance(2) {
			m.disk = version
		}
	}
}

// operate clears a version, or takes a slot away.
func (w *world) operate(m *member) {
	doc, version := w.store.doc, m.disk
	if w.Chance(2) {
		if next, err := doc.Clear(version); err == nil && w.commit(write{modified: w.store.modified, next: next}) {
			w.Tracef("%s is cleared", version)
			delete(w.confirmed, version)
			w.ran[version] = nil
			if v := next.Versions[version]; v != nil {
				w.ran[version] = slices.Clone(v.Canaries)
			}
		}
		return
	}
	if next, err := doc.Release(m.name); err == nil && w.commit(write{modified: w.store.modified, next: next}) {
		w.Tracef("the slot of %s is taken away", m.name)
		w.released[m.name] = true
		for version, members := range w.ran {
			if v := next.Versions[version]; v != nil && !slices.Contains(v.Canaries, m.name) {
				w.ran[version] = slices.DeleteFunc(members, func(name string) bool { return name == m.name })
			}
		}
	}
}

func (w *world) fails(m *member, version string) bool {
	return w.bad[version] != 0 && (w.calm || w.Chance(w.bad[version]))
}

// read returns what is in the store, or what was there a while ago: as if the member had read it then, and
// something had come in between. It is never older than what the member knows.
func (w *world) read(m *member) snapshot {
	s := w.store.read()
	w.history = append(w.history[max(0, len(w.history)-20):], s)
	if w.lost() {
		s = w.history[w.IntN(len(w.history))]
		if s.modified < m.seen {
			s = w.store.read()
		}
	}
	m.seen = s.modified
	return s
}

func (w *world) lost() bool { return w.faulty != 0 && !w.calm && w.Chance(w.faulty) }

// An answer is what a member knows of its transaction.
type answer int

const (
	failed answer = iota
	succeeded
	unknown
)

func (w *world) send(m *member, t write) answer {
	if !w.lost() {
		if !w.commit(t) {
			return failed
		}
		m.seen = w.store.modified
		return succeeded
	}
	switch w.IntN(3) {
	case 0: // the answer is lost
		if w.commit(t) {
			m.seen = w.store.modified
		}
	case 1: // it comes late
		w.inFlight = append(w.inFlight, t)
	}
	return unknown
}

func (w *world) deliver() {
	if len(w.inFlight) > 0 {
		i := w.IntN(len(w.inFlight))
		t := w.inFlight[i]
		w.inFlight = slices.Delete(w.inFlight, i, i+1)
		w.commit(t)
	}
}

func (w *world) commit(t write) bool {
	if !w.store.commit(t) {
		return false
	}
	if t.grants != "" {
		w.Tracef("%s has a slot for %s", t.member, t.grants)
		if !slices.ContainsFunc(w.members, func(m *member) bool { return m.name == t.member && m.leave != "" }) {
			delete(w.released, t.member) // otherwise it may execute the version of its earlier slot
		}
		if w.confirmed[t.grants] {
			w.Failf("%s got a slot for %s, which has failed", t.member, t.grants)
		}
	}
	if t.fails != "" {
		w.confirmed[t.fails] = true
	}
	return true
}

// executes notes that a member executes a version by its gate.
func (w *world) executes(m *member, version string) {
	w.Tracef("%s executes %s", m.name, version)
	byOperator, released := w.released[m.name]
	if h := w.store.doc.Holder(m.name); !released && (h == nil || h.Version != version) {
		w.Failf("%s executes %s and holds %+v", m.name, version, h)
	}
	doc := w.store.doc
	if v := doc.Versions[version]; byOperator || v != nil && doc.IsProven(v) {
		return
	}
	if !slices.Contains(w.ran[version], m.name) {
		w.ran[version] = append(w.ran[version], m.name)
	}
	if v := doc.Versions[version]; len(w.ran[version]) > doc.Canaries && (v == nil || v.Failed == nil) {
		w.Failf("%v have executed %s, which is not proven", w.ran[version], version)
	}
}

func (w *world) check() {
	if doc := w.store.doc; len(doc.Holders) > doc.Max {
		w.Failf("%d slots of %d: %+v", len(doc.Holders), doc.Max, doc.Holders)
	}
}

// settle lets the members go on without faults until none has anything to do.
func (w *world) settle() {
	w.calm = true
	w.Tracef("nothing goes wrong any more")
	for len(w.inFlight) > 0 {
		w.deliver()
	}
	for range 200 * len(w.members) {
		m := w.members[w.IntN(len(w.members))]
		if m.phase != acquiring {
			w.store.dequeue(m.name) // the lease of a process that has ended
		}
		m.step()
		w.check()
	}
	doc := w.store.doc
	for _, m := range w.members {
		v := doc.Versions[m.disk]
		switch {
		case m.running == m.disk && m.phase == idle && m.observing == "":
		case m.disk == m.rejected:
		case m.phase != acquiring:
			w.Failf("%s is %v, it runs %s, not %s", m.name, m.phase, m.running, m.disk)
		case v != nil && v.Failed != nil:
		case v != nil && !doc.IsProven(v) && w.isStuck(v, m.disk):
		default:
			w.Failf("%s waits for %s: %+v, holders %+v", m.name, m.disk, v, doc.Holders)
		}
	}
	for _, h := range doc.Holders {
		if !h.Vanishes {
			w.Failf("%+v keeps its slot", h)
		}
	}
}

// isStuck reports whether a version waits for canaries that don't run it any more, which is left to an
// operator.
func (w *world) isStuck(v *rollout.Version, hash string) bool {
	return len(v.Canaries) >= w.store.doc.Canaries && slices.ContainsFunc(w.members, func(m *member) bool {
		return slices.Contains(v.Canaries, m.name) && !slices.Contains(v.Healthy, m.name) && m.running != hash
	})
}
