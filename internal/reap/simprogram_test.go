package reap

import (
	"slices"
	"syscall"
	"time"
)

// something happens: one act of the processes of the system, or of the program in which the
// policy is. It may be in a call of the policy.
func (w *simWorld) something() {
	switch w.IntN(22) {
	case 0, 1:
		w.programStarts()
	case 2, 3, 4:
		w.processForks()
	case 5, 6, 7, 8, 9:
		if p := w.pick(func(p *simProcess) bool { return !p.exited }); p != nil {
			w.exitSomehow(p)
		}
	case 10, 11:
		w.programWaits()
	case 12:
		w.programSteals()
	case 13:
		w.programReleases()
	case 14:
		if p := w.pick(func(p *simProcess) bool { return !p.exited }); p != nil {
			p.stopped = !p.stopped
			for _, a := range w.actors {
				if a.owed == p {
					a.owed = nil
				}
			}
			w.Tracef("%v is stopped: %v", p, p.stopped)
		}
	case 15, 16:
		if p := w.pick(func(p *simProcess) bool { return p.held || !p.exited && !p.tracee }); p != nil {
			w.Tracef("%v is held by a tracer: %v", p, !p.held)
			if p.held {
				w.letGo(p)
			} else {
				p.held = true
			}
		}
	case 17:
		if p := w.pick(func(p *simProcess) bool { return !p.exited }); p != nil {
			p.headless = true
			w.Tracef("the first thread of %v exits", p)
		}
	case 18:
		w.traces()
	case 19:
		if p := w.pick(func(p *simProcess) bool { return !p.exited && p.session != p.pid }); p != nil {
			p.session = p.pid
			w.Tracef("%v has a session of its own", p)
		}
	case 20:
		if w.Chance(8) && !w.listing {
			w.self.session = w.self.pid
			w.Tracef("the program has a session of its own")
		}
	case 21:
		w.threadsChange()
	}
}

func (w *simWorld) exitSomehow(p *simProcess) {
	code, sig := w.IntN(5), syscall.Signal(0)
	if w.Chance(3) {
		code, sig = -1, syscall.Signal(6)
	}
	w.Tracef("%v exits, %d %v", p, code, sig)
	w.exit(p, code, sig, sig != 0)
}

// programStarts has the program start a child: by os/exec, which has a pidfd for it if there are
// pidfds, or in another way. Those it must not start on the main thread beside the orphan reaper,
// nor where the lists of the threads can't be read.
func (w *simWorld) programStarts() {
	thread := w.threads[w.IntN(len(w.threads))]
	byExec := w.Chance(2)
	if !byExec && w.byPidfd && thread == w.self.pid {
		thread = w.threads[1]
	}
	if !byExec && w.byPidfd && (w.lasting.noProc != nil || w.lasting.noChildrenFile != nil) {
		return // nothing tells such a child
	}
	if w.listing && !w.tells() {
		return
	}
	p := w.fork(w.self, thread, own)
	if p == nil {
		return
	}
	w.started(p, byExec)
}

func (w *simWorld) started(p *simProcess, byExec bool) {
	w.Tracef("the program starts %v, by os/exec: %v, on thread %d", p, byExec, p.thread)
	if !byExec {
		p.cloned = w.Chance(4)
		return
	}
	if w.byPidfd {
		if w.handles[p] = w.open(p, nil); w.handles[p] == nil {
			delete(w.handles, p)
			w.exit(p, 1, 0, false) // os/exec does without, and the policy can't tell it
			w.wait(p)
		}
	}
}

// processForks has a process that is not the program start another one.
func (w *simWorld) processForks() {
	parent := w.pick(func(p *simProcess) bool { return !p.exited })
	if parent == nil {
		return
	}
	p := w.fork(parent, 0, stranger)
	if p == nil {
		return
	}
	p.foreign = parent.foreign || w.Chance(8)
	if w.Chance(4) {
		p.session = p.pid
	}
	w.Tracef("%v starts %v, session %d", parent, p, p.session)
}

// programWaits has the program wait for a child of its own that has exited. It reports whether
// there is one.
func (w *simWorld) programWaits() bool {
	p := w.pick(func(p *simProcess) bool { return p.whose == own && p.zombie() })
	if p == nil {
		return false
	}
	w.programGets(p)
	return true
}

func (w *simWorld) programGets(p *simProcess) {
	w.Tracef("the program waits for %v", p)
	w.wait(p)
	w.closeHandle(p)
}

func (w *simWorld) closeHandle(p *simProcess) {
	if d := w.handles[p]; d != nil {
		d.close()
		delete(w.handles, p)
	}
}

// programSteals has a part of the program wait for any child, or for one that is not its own.
func (w *simWorld) programSteals() {
	p := w.firstZombie()
	if w.Chance(2) {
		p = w.pick(func(p *simProcess) bool { return p.parent == w.self && p.zombie() })
	}
	if p != nil && !p.tracee {
		w.Tracef("the program steals %v", p)
		w.programGets(p)
	}
}

// tells reports whether it shows which processes are older than the image.
func (w *simWorld) tells() bool { return w.noProc == nil && !w.hidepid }

// mayBeReused reports whether a PID may be given out again: not that of an inherited child that
// the program has stolen, if start times can't be read. Nothing tells its next process from it.
func (w *simWorld) mayBeReused(pid int) bool {
	p := w.inherited[pid]
	return p == nil || p.waitedBy != nil || p.reports > 0 || w.tells() && w.failing == 0
}

// comesBack has a zombie stolen whose PID is just looked up, and the PID given out at once: not if
// another part of the policy has just looked at it and will wait by PID, where nothing helps.
func (w *simWorld) comesBack(pid int) {
	if slices.ContainsFunc(w.actors, func(a *simActor) bool { return a.busy }) {
		return
	}
	p := w.processes[pid]
	if p == nil || p.parent != w.self || !p.zombie() || p.tracee || w.tick() == w.imageTick || w.ascending != 0 {
		return
	}
	w.Tracef("the program steals %v", p)
	w.programGets(p)
	if !w.isFree(pid) || !w.mayBeReused(pid) {
		return
	}
	byExec, thread := true, w.threads[w.IntN(len(w.threads))]
	if w.Chance(3) && w.lasting.noProc == nil && w.lasting.noChildrenFile == nil {
		byExec, thread = false, w.threads[1]
	}
	p = w.forkAs(w.take(pid), w.self, thread, own)
	w.freed = slices.DeleteFunc(w.freed, func(n int) bool { return n == pid })
	w.started(p, byExec)
	if !p.exited && w.Chance(2) {
		w.exitSomehow(p)
	}
}

// programReleases has os/exec forget a child.
func (w *simWorld) programReleases() {
	p := w.pick(func(p *simProcess) bool { return w.handles[p] != nil && !p.waited && p.thread == w.self.pid })
	if p == nil || p.cloned {
		return
	}
	w.Tracef("the program releases %v", p)
	p.whose = released
	w.closeHandle(p)
}

// traces has the program trace a process that is not its child, or end that.
func (w *simWorld) traces() {
	p := w.pick(func(p *simProcess) bool { return p.tracee || p.whose == stranger && !p.exited && !p.held })
	if p == nil || w.poor {
		return
	}
	w.Tracef("the program traces %v: %v", p, !p.tracee)
	for _, a := range w.actors { // later it may be a zombie in another way
		a.undecided = slices.DeleteFunc(a.undecided, func(other *simProcess) bool { return other == p })
	}
	if p.tracee = !p.tracee; p.zombie() && p.parent == w.self {
		w.announced(p, true, false)
	}
}

func (w *simWorld) threadsChange() {
	if len(w.threads) < 4 && w.Chance(2) {
		w.newThread()
		return
	}
	i := len(w.threads) - 1
	if i < 2 {
		return
	}
	for _, p := range w.self.children { // which could not be told any more
		if p.thread == w.threads[i] && p.whose == own && w.handles[p] == nil {
			return
		}
	}
	w.endThread(i)
}

// quiet ends all acts and faults.
func (w *simWorld) quiet() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.Tracef("all is quiet")
	w.inCalls, w.failing, w.simLimits = 0, 0, w.lasting
	w.announced(w.self, true, false) // a filter that is gone is not announced
	for _, a := range w.actors {
		a.mayBeSlow = false
	}
	for pid := range w.pids {
		p := w.processes[pid]
		if p == nil {
			continue
		}
		if p.tracee {
			if p.tracee = false; p.zombie() && p.parent == w.self {
				w.announced(p, true, false)
			}
		}
		if p.held {
			w.letGo(p)
		}
	}
}

// maxQuiet is how long it takes at most until all is decided: zombies are looked at once a
// minute.
const maxQuiet = 3 * time.Minute
