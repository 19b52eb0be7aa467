package reap

import (
	"cmp"
	"errors"
	"time"
)

// zombie is one that is not certainly an orphan.
type zombie struct {
	next     time.Time     // when to decide on it
	pause    time.Duration // and if it stays, how long to wait after that
	start    uint64        // 0 if it was not needed, or can't be read
	reported bool          // as undecided
}

func (z *zombie) due(now time.Time) bool { return !now.Before(z.next) }

// postpone has the zombie looked at after its pause, which doubles.
func (z *zombie) postpone(now time.Time) {
	z.next = now.Add(z.pause)
	z.pause = min(2*z.pause, longestPause)
}

// scan reaps what can be reaped now. It reports whether more zombies are due than it
// could hold.
func (r *orphanRun) scan(now time.Time) (full bool) {
	if r.reapFirst(now) {
		return false
	}
	due, full := r.holdDue(now)
	defer closeAll(due)
	// The lists are read while the zombies that are due are held. So they are about
	// these or, if another part of the program has waited for one, about a process
	// that has its PID now and that no wait by pidfd finds.
	cpu := r.from.table.CPUTime()
	lists := r.from.readMainList()
	var met []int
	for _, pid := range inOrder(lists.possibleOrphans()) {
		if r.pending[pid] == nil && r.from.isZombie(pid) {
			met = append(met, pid)
		}
	}
	r.used += r.from.table.CPUTime() - cpu
	for _, pid := range met {
		r.meet(pid, now)
	}
	for _, pid := range inOrder(r.pending) {
		if !r.pending[pid].due(now) && !r.from.isZombie(pid) {
			delete(r.pending, pid)
		}
	}
	r.decide(due, lists, now)
	return full
}

// reapFirst reaps the zombies that the kernel names first. It names one at a time, the
// same until that one is gone. As long as those are orphans, or there are none, no
// list has to be read. It reports whether there is nothing else to do now.
func (r *orphanRun) reapFirst(now time.Time) (done bool) {
	for range maxExpected {
		pid, ok := r.from.someZombie()
		if ok && pid == 0 {
			clear(r.pending)
			return true
		}
		if !ok || r.pending[pid] != nil || !r.meet(pid, now) {
			return false
		}
	}
	return false
}

// meet is called for a zombie not seen before, and reports whether it is gone.
func (r *orphanRun) meet(pid int, now time.Time) (gone bool) {
	r.met++
	if !r.inherited[pid] && classify(r.from.sessions(pid)) == orphan && r.reap(pid, nil) {
		return true
	}
	r.pending[pid] = &zombie{next: now.Add(firstLook), pause: shortestPause}
	return false
}

// decide reaps those of the zombies that are orphans.
func (r *orphanRun) decide(due []heldZombie, lists *threadLists, now time.Time) {
	var unlessOwned []heldZombie
	for _, z := range due {
		z.postpone(now)
		e := r.from.sessions(z.pid)
		var unread error // why its age is not known
		if r.inherited[z.pid] {
			var belongs bool
			belongs, unread = r.from.child(z.pid).check()
			e.inherited = belongs && unread == nil
		}
		e.list = lists.find(z.pid)
		if !r.pidfds { // which tell at less cost
			stat, err := r.from.stat(z.pid)
			e.older = err == nil && stat.Start < r.from.imageStart
			unread = cmp.Or(unread, err)
			if err == nil && stat.Start != z.start { // not yet seen, or the PID has come back
				z.start, z.reported = stat.Start, false
			}
		}
		switch classify(e) {
		case orphan:
			r.reapFree(z)
		case ownChild:
		case undecided:
			if e.list == listMissed {
				z.next, z.pause = now.Add(firstLook), shortestPause
			}
		case orphanUnlessHeld:
			switch {
			case z.pidfd != nil:
				unlessOwned = append(unlessOwned, z)
			case r.pidfds: // there was no room for one
				z.next, z.pause = now.Add(shortestPause), shortestPause
			case mayPass(unread):
			case r.observer != nil && !z.reported:
				z.reported = true
				r.observer.Undecided(r.from.Describe(z.pid))
			}
		}
	}
	if len(unlessOwned) == 0 {
		return
	}
	cpu := r.from.table.CPUTime()
	owned, ok := r.from.pidfdsOwned(due)
	r.used += r.from.table.CPUTime() - cpu
	for _, z := range unlessOwned {
		if ok && !owned[z.pid] {
			r.reapFree(z)
		}
	}
}

// reapFree is reap for a zombie that may be an inherited child: no Reaper must have it, and it must not
// be adopted.
func (r *orphanRun) reapFree(z heldZombie) {
	inherited := r.inherited[z.pid] && r.from.child(z.pid).belongs()
	if inherited && !r.from.take(z.pid) {
		return
	}
	if !r.reap(z.pid, z.pidfd) && inherited {
		r.from.GiveBack(z.pid)
	}
}

// reap waits for the zombie, by its pidfd if there is one, and reports it. It reports
// whether the zombie is gone.
func (r *orphanRun) reap(pid int, pidfd Pidfd) (gone bool) {
	e := Exit{PID: pid}
	if r.observer != nil {
		e.Command = r.from.command(pid) // there is no name after the wait
	}
	state, err := NotOurs, errors.ErrUnsupported
	if pidfd != nil {
		state, err = pidfd.Wait(&e)
	}
	if err != nil {
		state, err = r.from.table.Wait(pid, &e)
	}
	if err != nil || state == Running { // traced
		return false
	}
	delete(r.pending, pid)
	if state == Exited {
		r.reaped++
		if r.observer != nil {
			r.observer.Reaped(e)
		}
	}
	return true
}
