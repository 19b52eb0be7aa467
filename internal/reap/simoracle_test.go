package reap

import (
	"context"
	"fmt"
	"slices"
	"syscall"
	"time"
)

// simActor is a part of the program that uses the policy, with a goroutine of its own: a run of
// a Reaper or of the orphan reaper, or an adopted child.
type simActor struct {
	*simWorld
	kind   simKind
	n      time.Duration // see simInstant
	silent bool          // it has no observer
	cancel context.CancelFunc

	ended     bool
	busy      bool // in a call that takes time
	mayBeSlow bool
	active    time.Time // since when
	latest    time.Time // when the last call of that ended
	err       error
	waited    *simProcess // the last one that it has waited for, until it reports that

	// Of a Reaper.
	steps   []Step
	began   time.Time
	reached []time.Time // when a step was first taken
	took    []*simProcess
	step    map[*simProcess]int // how many were sent
	last    simSignal
	owed    *simProcess // that has to be continued

	// Of the orphan reaper.
	undecided []*simProcess

	// Of an adopted child.
	adopted *Adopted
	child   *simProcess
	running bool // a Wait
	gaveUp  bool
	exit    Exit
}

type simKind int

const (
	byReaper simKind = iota
	byOrphans
	byAdopted
)

// simSignal is an attempt to send one.
type simSignal struct {
	p   *simProcess
	sig syscall.Signal
	err error
}

func (a *simActor) String() string {
	if a == nil {
		return "program"
	}
	return fmt.Sprintf("%s %d", [...]string{"reaper", "orphans", "adopted"}[a.kind], a.n)
}

// waitedFor judges that a zombie is waited for.
func (w *simWorld) waitedFor(a *simActor, p *simProcess) {
	switch {
	case a == nil && w.listing && p.whose == inherited && w.poor:
		p.kept = true
		return
	case a == nil || p.tracee:
	case a.kind == byOrphans && p.custody == nil && (p.whose == inherited || p.whose == ofOthers || p.whose == released),
		a.kind != byOrphans && p.whose == inherited && p.custody == a:
		if a.waited != nil {
			w.fail("%v has not reported %v", a, a.waited)
		}
		if p.waitedBy = a; !a.silent {
			a.waited = p
		}
		return
	}
	w.fail("%v has waited for %v, %s", a, p, p.describe())
}

func (p *simProcess) describe() string {
	if p.custody == nil {
		return [...]string{"of another process", "inherited and free", "started by this image", "released", "an orphan"}[p.whose]
	}
	return fmt.Sprintf("%s, taken by %v", [...]string{"of another process", "inherited", "started by this image", "released", "an orphan"}[p.whose], p.custody)
}

// reported judges a report.
func (w *simWorld) reported(a *simActor, e Exit) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.Tracef("%v: reports %d, lost %v", a, e.PID, e.Lost)
	p := a.waited
	a.waited = nil
	if p == nil || p.pid != e.PID {
		if p = w.inherited[e.PID]; p == nil || p.custody != a {
			w.fail("%v reports %d, which it has not waited for", a, e.PID)
			return
		}
		if gone := p.waited && p.waitedBy == nil; !gone || e.Lost == p.kept {
			w.fail("%v reports %v, %s, lost %v", a, p, p.describe(), e.Lost)
		}
	}
	if !e.Lost && (e.Code != p.status.Code || e.Signal != p.status.Signal || e.CoreDump != p.status.CoreDump || e.Usage != p.status.Usage) {
		w.fail("%v reports %+v of %v, whose exit was %+v", a, e, p, p.status)
	}
	if p.reports++; p.reports > 1 {
		w.fail("%v was reported before, now by %v", p, a)
	}
}

// signalled judges a signal, whatever becomes of it.
func (w *simWorld) signalled(a *simActor, p *simProcess, sig syscall.Signal, err error, stopped bool) {
	if a == nil || a.kind == byOrphans || p.whose != inherited || p.custody != a {
		w.fail("%v sends %v %v, %s", a, p, sig, p.describe())
		return
	}
	if a.kind == byAdopted {
		return
	}
	last := a.last
	a.last = simSignal{p, sig, err}
	switch {
	case sig == simCONT:
		if last.p != p || last.err != nil && last.sig != simCONT {
			w.fail("%v continues %v without a signal", a, p)
		}
		if err == nil && a.owed == p {
			a.owed = nil
		}
		return
	case last.p == p && last.sig == sig && last.err != nil: // in another way
	default:
		w.stepTaken(a, p, sig)
	}
	if a.owed != nil && a.owed.stopped && !a.owed.exited {
		w.fail("%v has not continued %v", a, a.owed)
	}
	if err == nil && stopped && sig != syscall.SIGKILL {
		a.owed = p
	}
}

// stepTaken judges that a step of an escalation reaches a child.
func (w *simWorld) stepTaken(a *simActor, p *simProcess, sig syscall.Signal) {
	i := a.step[p]
	for i < len(a.steps) && a.steps[i].Signal != sig {
		i++
	}
	if i == len(a.steps) {
		w.fail("%v sends %v to %v, which has got %d of %v", a, sig, p, a.step[p], a.steps)
		return
	}
	before := a.began
	if i > 0 {
		before = a.reached[i-1]
	}
	if due := before.Add(a.steps[i].After); before.IsZero() || time.Now().Before(due) {
		w.fail("%v sends %v to %v, which is due at %v", a, sig, p, due.Sub(w.Start))
	}
	if a.reached[i].IsZero() {
		a.reached[i] = a.active
	}
	a.step[p] = i + 1
}

// check judges what holds whenever the policy waits.
func (w *simWorld) check() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range w.actors {
		switch {
		case a.busy:
		case a.waited != nil:
			w.fail("%v has not reported %v", a, a.waited)
		case a.owed != nil && a.owed.stopped && !a.owed.exited && !a.ended:
			w.fail("%v has not continued %v", a, a.owed)
		}
		if !a.busy {
			a.owed, a.last = nil, simSignal{}
		}
	}
}

// simObserver receives the reports of an actor.
type simObserver struct{ *simActor }

func (o simObserver) Listed(int, int, string)              {}
func (o simObserver) NotAnnounced(error)                   {}
func (o simObserver) Signalled(int, syscall.Signal, error) {}
func (o simObserver) Reaped(e Exit)                        { o.reported(o.simActor, e) }
func (o simObserver) NoPidfds()                            {}

func (o simObserver) Undecided(process Process) {
	o.mu.Lock()
	defer o.mu.Unlock()
	p := o.processes[process.PID]
	o.Tracef("%v: undecided %v", o.simActor, p)
	if !o.mine(p) { // any more
		return
	}
	if slices.Contains(o.undecided, p) {
		o.fail("%v reports twice that it can't decide on %v", o.simActor, p)
	}
	o.undecided = append(o.undecided, p)
}

// reapEnded judges the end of a Reaper's run. Its children are free again.
func (w *simWorld) reapEnded(a *simActor, cancelled bool, free []int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.Tracef("%v: ends, %v", a, a.err)
	a.ended = true
	if (a.err != nil) != (a.err == context.Canceled) || a.err != nil && !cancelled {
		w.fail("%v returns %v", a, a.err)
	}
	for _, p := range a.took {
		switch {
		case a.err != nil && p.waitedBy == nil && p.reports == 0 && slices.Contains(free, p.pid):
			p.custody = nil
		case p.waitedBy == a, p.reports > 0, a.silent && p.waited:
		default:
			w.fail("%v returns %v, and %v, %s, is neither reported nor free", a, a.err, p, p.describe())
		}
	}
}

// orphansLeft returns a zombie that the orphan reaper should have reaped by now, nil if there is
// none.
func (w *simWorld) orphansLeft() *simProcess {
	lowest := 3
	for w.descriptors[lowest] != nil {
		lowest++
	}
	for _, p := range w.self.children {
		readable := w.noProc == nil && !(w.hidepid && p.foreign)
		own := p.session == p.pid || p.session == w.self.session || p.session == w.sessionAtStart
		switch {
		case !p.zombie() || p.tracee || p.custody != nil:
		case w.inherited[p.pid] != nil && !readable: // it can't be told from the child that had this PID
		case p.thread != w.self.pid:
		case p.whose != ofOthers && p.whose != released && p.whose != inherited:
		case !own, w.byPidfd && w.openFiles-lowest >= 4, readable && (p.whose == inherited || !w.byPidfd && p.start < w.imageTick):
			return p
		}
	}
	return nil
}
