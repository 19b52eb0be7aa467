package reap

import (
	"syscall"
	"time"
)

// Step is one step of an escalation: a signal, and how long after the step before
// it, or after the beginning, the signal is sent to the children that are still
// there.
type Step struct {
	Signal syscall.Signal
	After  time.Duration
}

// escalation is a schedule as far as it is left.
type escalation struct {
	steps []Step
	last  time.Time // when the step before steps[0] was taken
}

// next returns when the next step is due; ok is false when none is left.
func (e escalation) next() (at time.Time, ok bool) {
	if len(e.steps) == 0 {
		return time.Time{}, false
	}
	return e.last.Add(e.steps[0].After), true
}

// due takes the next step if its time has come. The step after that counts from
// now and not from when this one should have been taken: a process that was
// stopped for minutes does not send everything at once when it goes on.
func (e *escalation) due(now time.Time) (sig syscall.Signal, ok bool) {
	at, ok := e.next()
	if !ok || now.Before(at) {
		return 0, false
	}
	sig = e.steps[0].Signal
	e.steps, e.last = e.steps[1:], now
	return sig, true
}

// scanPause says how long to leave the children alone that have to be looked at one
// by one, after a look at all of them took so long: a fiftieth of one CPU at most,
// unless an exit would then go unnoticed for too long.
func scanPause(took time.Duration) time.Duration {
	return min(max(50*took, time.Millisecond), 50*time.Millisecond)
}

// stuckPause is how often a child is looked at that has exited by its pidfd and can't
// be waited for yet: its tracer has to let go of it first, and not every kernel
// announces that.
const stuckPause = 250 * time.Millisecond
