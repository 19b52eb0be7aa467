package reap

import (
	"context"
	"errors"
	"time"
)

// orphanRun is one run of the orphan reaper.
type orphanRun struct {
	from      *Snapshot
	observer  OrphanObserver  // nil if there is none
	inherited map[int]bool    // the PIDs of the snapshot
	pidfds    bool            // whether children of os/exec can be told by their pidfds
	pending   map[int]*zombie // by PID

	nextScan        time.Time // when the zombies may be looked at again
	nextList        time.Time // when all children may be listed again
	nextDescriptors time.Time // when the descriptors may be looked at again
}

// zombie is one that is not certainly an orphan.
type zombie struct {
	next        time.Time     // when to look at it again; zero for never
	pause       time.Duration // and if that changes nothing, how long to wait after that
	fresh       bool          // only its session has been looked at yet
	descriptors bool          // only the descriptors have to be looked at
}

const (
	// A zombie that os/exec waits for is gone in no time. Only one that stays is
	// worth a look that costs something.
	firstLook = 10 * time.Millisecond
	// The holder of a pidfd may release it without waiting. These are the pauses
	// between two looks at a zombie for which there is one.
	shortestPause, longestPause = time.Second, time.Minute
	// For how long to leave zombies alone after a look that took long.
	longestScanPause = 2 * time.Second
)

// ReapOrphans reaps orphans until ctx ends, and returns its error. A nil observer
// receives nothing. The caller sees to it that orphans come to this process, see
// [Subreaper].
func (s *Snapshot) ReapOrphans(ctx context.Context, observer OrphanObserver) error {
	if _, _, err := s.table.PeekAny(); errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	r := &orphanRun{
		from:      s,
		observer:  observer,
		inherited: setOf(s.listed()),
		pidfds:    s.table.StartedByPidfd(),
		pending:   make(map[int]*zombie),
	}
	if !r.pidfds && observer != nil {
		observer.NoPidfds()
	}
	return r.loop(ctx)
}

func (r *orphanRun) loop(ctx context.Context) error {
	someExit, stop := r.from.table.NotifyExits()
	defer stop()
	timer := time.NewTimer(0) // for exits before that
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-someExit:
			if wait := time.Until(r.nextScan); wait > 0 {
				timer.Reset(wait)
				continue
			}
		case <-timer.C:
		}
		began := time.Now()
		r.scan(began)
		now := time.Now()
		took := now.Sub(began)
		// Nothing waits for an orphan. And a scan that took long may have waited for
		// a CPU.
		r.nextScan = now.Add(max(scanPause(took), min(20*took, longestScanPause)))
		if at, ok := r.wakeUp(); ok {
			timer.Reset(max(time.Until(at), time.Until(r.nextScan)))
		} else {
			timer.Stop()
		}
	}
}

// scan reaps what can be reaped now.
func (r *orphanRun) scan(now time.Time) {
	if r.reapFirst(now) {
		return
	}
	r.nextList = now.Add(firstLook)
	lists := r.from.readMainList() // after all that is pending has come into one of them
	for pid := range lists.possibleOrphans() {
		if r.pending[pid] == nil && r.from.isZombie(pid) {
			r.meet(pid, now)
		}
	}
	for pid, z := range r.pending {
		switch {
		case !r.from.isZombie(pid):
			delete(r.pending, pid)
		case !z.descriptors && !z.next.IsZero() && !now.Before(z.next):
			r.decide(pid, z, lists, now)
		}
	}
	r.lookAtDescriptors(now)
}

// reapFirst reaps the zombies that the kernel names first. It names one at a time, the
// same until that one is gone. As long as those are orphans, or there are none, no
// list has to be read. It reports whether there is nothing else to do now.
func (r *orphanRun) reapFirst(now time.Time) (done bool) {
	for {
		pid, ok := r.from.someZombie()
		if !ok {
			return false
		}
		if pid == 0 {
			clear(r.pending)
			return true
		}
		z := r.pending[pid]
		switch {
		case z == nil && r.meet(pid, now): // it is gone
		case z == nil || z.fresh:
			return now.Before(r.nextList) // the others can wait until this one is decided
		default:
			return false
		}
	}
}

// meet is called for a zombie not seen before, and reports whether it is gone.
func (r *orphanRun) meet(pid int, now time.Time) (gone bool) {
	if !r.inherited[pid] && classify(r.from.sessions(pid)) == orphan {
		return r.reap(pid, nil)
	}
	r.pending[pid] = &zombie{next: now.Add(firstLook), pause: shortestPause, fresh: true}
	return false
}

// decide reaps a zombie that has stayed if it is an orphan. If that takes a look at
// the descriptors, it only notes so.
func (r *orphanRun) decide(pid int, z *zombie, lists *threadLists, now time.Time) {
	z.fresh = false
	z.postpone(now)
	if r.inherited[pid] && r.from.child(pid).belongs() {
		if r.from.take(pid) { // or a Reaper has it, or it is adopted
			r.reap(pid, nil)
		}
		return
	}
	e := r.from.sessions(pid)
	e.list = lists.find(pid)
	if !r.pidfds { // which tell at less cost
		stat, err := r.from.stat(pid)
		e.older = err == nil && stat.Start < r.from.imageStart()
	}
	switch classify(e) {
	case orphan:
		r.reap(pid, nil)
	case ownChild:
	case undecided:
		z.next, z.pause = now.Add(firstLook), shortestPause
	case orphanUnlessHeld:
		if r.pidfds {
			z.descriptors, z.next, z.pause = true, now, shortestPause
			return
		}
		z.next = time.Time{}
		if r.observer != nil {
			r.observer.Undecided(r.from.Describe(pid))
		}
	}
}

// postpone has the zombie looked at after its pause, which doubles.
func (z *zombie) postpone(now time.Time) {
	z.next = now.Add(z.pause)
	z.pause = min(2*z.pause, longestPause)
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
	switch {
	case err != nil:
	case state == Running: // traced
		return false
	case state == Exited && r.observer != nil:
		r.observer.Reaped(e)
	}
	return true
}

// wakeUp returns when there is something to do even if no child exits.
func (r *orphanRun) wakeUp() (at time.Time, ok bool) {
	for _, z := range r.pending {
		if !z.next.IsZero() && (!ok || z.next.Before(at)) {
			at, ok = z.next, true
		}
	}
	if ok && at.Before(r.nextDescriptors) {
		at = r.nextDescriptors
	}
	return at, ok
}
