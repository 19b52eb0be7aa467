package autorestart

import (
	"syscall"
	"time"
)

// EscalationStep is one rung of an escalation: a signal, and how long after the step
// before it, or after the beginning, it is sent to the children that are still
// there.
type EscalationStep struct {
	Signal syscall.Signal
	After  time.Duration
}

// DefaultEscalation returns the schedule that a [Reaper] follows unless it is
// given another one. It never kills.
func DefaultEscalation() []EscalationStep {
	return []EscalationStep{
		{syscall.SIGHUP, 5 * time.Second},
		{syscall.SIGINT, 120 * time.Second},
		{syscall.SIGTERM, 60 * time.Second},
	}
}

// escalation is the place reached in a schedule.
type escalation struct {
	steps []EscalationStep
	last  time.Time // when the step before steps[0] was taken
}

// next tells when the next step is due; ok is false when none is left.
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

// scanPause says how long to leave the children alone that have to be asked one
// by one, after it took so long to ask them all: a fiftieth of one CPU at most,
// unless that would let an exit wait for longer than anyone should notice.
func scanPause(took time.Duration) time.Duration {
	return min(max(50*took, time.Millisecond), 50*time.Millisecond)
}
