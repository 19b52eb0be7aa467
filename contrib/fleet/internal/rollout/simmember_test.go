package rollout_test

import (
	"time"

	"github.com/autorestart-go/autorestart/contrib/fleet/internal/rollout"
)

// A phase is what a process of a member does.
type phase int

const (
	idle      phase = iota
	acquiring       // it asks for a slot
	returning       // it gives back what it may have got, since it has no use for that
	granted         // it has leave, and has not executed the version
	executed        // the version is on trial
	releasing       // the restart has ended, and the group does not know yet
	dead            // no process
)

func (p phase) String() string {
	return [...]string{"idle", "acquiring", "returning", "granted", "executed", "releasing", "dead"}[p]
}

// A member is simulated as its gate works: it reads, decides, and writes if nothing has changed since.
type member struct {
	*world
	name     string
	vanishes bool
	clock    time.Time // years from those of others; nothing is decided by it
	disk     string    // the version at the path
	running  string
	rejected string // rolled back here
	phase    phase

	version   string          // that the slot is for, or is asked for
	earlier   *rollout.Holder // the slot before the question
	queued    bool            // the key in the queue is for this question
	asked     bool            // a write may have given a slot
	leave     string          // the version that this image has leave for
	before    string          // the version of a slot of the image before, which this image runs
	outcome   outcome
	insists   bool   // it executes the version that it has leave for, since it can't have the newer one
	seen      int64  // the revision that it knows
	observing string // the version that it has to run for HealthyFor
}

type outcome int

const (
	ready outcome = iota
	rolledBack
	calledOff
)

// step lets the process go on.
func (m *member) step() {
	if m.observing != "" && m.phase != dead && m.Chance(3) {
		m.proved()
		return
	}
	switch m.phase {
	case idle:
		if m.disk != m.running && m.disk != m.rejected {
			m.begin()
		}
	case acquiring:
		if m.version != m.disk || !m.calm && m.Chance(20) { // a newer file, or the end of Run
			m.phase = returning
			return
		}
		m.acquire()
	case returning:
		m.giveBack()
	case granted:
		switch {
		case m.disk != m.version && !m.insists:
			m.begin()
		case !m.calm && m.Chance(10):
			m.end(calledOff)
		default:
			m.execute()
		}
	case executed:
		switch {
		case m.world.fails(m, m.running):
			m.rejected, m.running = m.running, m.previous[m.name]
			m.end(rolledBack)
		case m.disk != m.running && m.Chance(3):
			m.before, m.leave = m.running, ""
			m.begin() // a further version, during the trial
		default:
			m.end(ready)
		}
	case releasing:
		m.release()
	case dead:
		m.start()
	}
}

func (m *member) begin() {
	m.phase, m.version, m.queued, m.asked, m.earlier = acquiring, m.disk, false, false, nil
	m.Tracef("%s asks for %s", m.name, m.version)
}

func (m *member) end(o outcome) {
	m.phase, m.outcome, m.insists = releasing, o, false
}

func (m *member) acquire() {
	s := m.read(m)
	if h := s.doc.Holder(m.name); !m.asked || h == nil || h.Version != m.version {
		m.earlier = h
	}
	id := rollout.ID{Hash: m.version}
	if !m.queued || s.created(m.name) == 0 {
		if m.queued = !m.lost(); m.queued {
			m.store.enqueue(rollout.Waiting{Member: m.name, Version: id, Since: m.clock})
		}
		return
	}
	unexecuted := m.leave
	if h := s.doc.Holder(m.name); m.asked && h != nil && h.Version == m.version {
		unexecuted = m.version
	}
	d := s.doc.Acquire(rollout.Request{Member: m.name, Version: id, Since: m.clock, Vanishes: m.vanishes, Unexecuted: unexecuted}, s.waiting(), s.isAlive)
	if d.Next == nil {
		if d.KeepsSlot {
			m.phase = returning
		}
		return
	}
	w := write{member: m.name, modified: s.modified, created: s.created(m.name), next: d.Next, grants: m.version, vanishes: m.vanishes}
	switch m.send(m, w) {
	case succeeded:
		m.phase, m.leave = granted, m.version
	case unknown:
		m.asked = true
	}
}

// giveBack writes also if there is nothing to give back: a grant that is under way then fails.
func (m *member) giveBack() {
	if !m.asked {
		m.returned()
		return
	}
	s := m.read(m)
	next := s.doc.KeepEarlier(m.name, m.version, m.earlier)
	if m.send(m, write{member: m.name, modified: s.modified, next: next}) == succeeded {
		m.returned()
	}
}

func (m *member) returned() {
	m.store.dequeue(m.name)
	m.Tracef("%s has no use for %s", m.name, m.version)
	switch {
	case m.leave != "":
		m.version, m.phase = m.leave, granted
		if m.insists = m.Chance(2); !m.insists {
			m.end(calledOff)
		}
	case m.before != "":
		m.end(ready)
	default:
		m.phase = idle
	}
}

func (m *member) execute() {
	m.world.executes(m, m.version)
	m.previous[m.name] = m.running
	m.running, m.leave, m.phase, m.observing, m.insists = m.version, "", executed, "", false
}

func (m *member) release() {
	s := m.read(m)
	var next *rollout.Document
	canary, fails := false, ""
	switch m.outcome {
	case ready:
		next, canary = s.doc.Ready(m.name, m.running)
	case rolledBack:
		next, canary = s.doc.RolledBack(rollout.ID{Hash: m.rejected}, m.running, rollout.Failure{Member: m.name, At: m.clock})
		fails = m.rejected
	case calledOff:
		next, canary = s.doc.CalledOff(m.name, m.version, m.running)
	}
	if m.send(m, write{member: m.name, modified: s.modified, next: next, fails: fails}) != succeeded {
		return
	}
	m.Tracef("%s: %d, it runs %s", m.name, m.outcome, m.running)
	m.phase, m.leave, m.before = idle, "", ""
	delete(m.released, m.name)
	if canary {
		m.observing = m.running
	}
}

func (m *member) proved() {
	s := m.read(m)
	if m.send(m, write{member: m.name, modified: s.modified, next: s.doc.Proved(m.name, m.observing)}) == succeeded {
		m.Tracef("%s has run %s for long enough", m.name, m.observing)
		m.observing = ""
	}
}

func (m *member) crash() {
	m.Tracef("%s ends in phase %v", m.name, m.phase)
	m.phase = dead
}

// start starts a process afresh.
func (m *member) start() {
	m.Tracef("%s starts %s", m.name, m.disk)
	m.running, m.rejected, m.leave, m.before, m.observing = m.disk, "", "", "", ""
	m.end(ready)
}
