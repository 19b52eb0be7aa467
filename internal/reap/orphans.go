package reap

import (
	"context"
	"errors"
	"runtime"
	"time"
)

// orphanRun is one run of the orphan reaper. It looks at zombies in rounds, some time
// after a child has exited. A round decides on all zombies that have stayed since an
// earlier one, with one reading of the list of children and one of the descriptors.
type orphanRun struct {
	from      *Snapshot
	observer  OrphanObserver  // nil if there is none
	inherited map[int]bool    // the PIDs of the snapshot
	pidfds    bool            // whether children of os/exec can be told by their pidfds
	pending   map[int]*zombie // by PID

	lastRound time.Time // when the last round began
	nextRound time.Time // when there may be another

	// Of this round.
	met, reaped int           // zombies
	used        time.Duration // CPU time for what does not grow with their number
}

const (
	// A zombie that os/exec waits for is gone in no time. Only one that stays is
	// worth a look that costs something.
	firstLook = 10 * time.Millisecond
	// The holder of a pidfd may release it without waiting, and the PID of a zombie that can't be
	// decided on may come to another one. These are the pauses between two looks.
	shortestPause, longestPause = time.Second, time.Minute
	// For how long to leave zombies alone after a round that took long.
	longestRoundPause = 2 * time.Second
	// How many orphans may come during a pause. They fit into one round.
	maxExpected = 200
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
		inherited: setOf(s.all),
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
	due := time.Now() // for exits before that
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-someExit:
			// Nothing waits for an orphan, and others may follow.
			if at := r.afterPause(time.Now().Add(firstLook)); due.IsZero() || at.Before(due) {
				due = at
				timer.Reset(time.Until(at))
			}
		case <-timer.C:
			if due = r.round(); !due.IsZero() {
				timer.Reset(time.Until(due))
			}
		}
	}
}

// round looks at the zombies, and returns when to do so again even if no child exits,
// zero for never.
func (r *orphanRun) round() (again time.Time) {
	// Rounds of other runs would hold the same zombies.
	r.from.rounds.Lock()
	defer r.from.rounds.Unlock()
	runtime.LockOSThread() // its CPU time is counted
	defer runtime.UnlockOSThread()
	now := time.Now()
	r.met, r.reaped, r.used = 0, 0, 0
	full := r.scan(now)
	pause := roundPause(r.used, now.Sub(r.lastRound), r.met)
	if full && r.reaped > 0 {
		pause = 0
	}
	r.lastRound, r.nextRound = now, time.Now().Add(pause)
	if r.reaped > 0 {
		return r.nextRound // what is waited for meanwhile can make a list miss its neighbours
	}
	for _, z := range r.pending {
		if again.IsZero() || z.next.Before(again) {
			again = z.next
		}
	}
	if again.IsZero() {
		return again
	}
	return r.afterPause(again)
}

// roundPause says for how long to leave zombies alone after a round that has used so
// much CPU time: a twentieth of one CPU at most, unless too many orphans would then
// wait. They come as fast as they came since the round before. The time that a round
// takes would be a bad measure: on a busy machine, it is mostly spent waiting for a CPU.
func roundPause(used, since time.Duration, came int) time.Duration {
	pause := min(20*used, longestRoundPause)
	if came > 0 {
		pause = min(pause/maxExpected, since/time.Duration(came)) * maxExpected
	}
	return max(pause, firstLook)
}

// afterPause returns the time at which there may be a round, at the earliest at.
func (r *orphanRun) afterPause(at time.Time) time.Time {
	if at.Before(r.nextRound) {
		return r.nextRound
	}
	return at
}
