package fleetlock

import (
	"context"
	"time"

	"github.com/autorestart-go/autorestart"
)

// A wait is that of one Acquire.
type wait struct {
	*Gate
	from   identity
	maybe  bool   // the server may have locked a slot, although no answer says so
	full   notice // there is no slot
	outage notice // the server can't be reached
}

// lock locks a slot, and waits until there is one. If the result is false without an error, the
// restart begins without a slot.
func (w *wait) lock(ctx context.Context, c autorestart.Change) (isLocked bool, err error) {
	for attempt := 0; ; attempt++ {
		a, err := w.server.post(ctx, preReboot, w.from)
		v := a.verdict(preReboot)
		w.maybe = w.maybe || err != nil || a.sent && v != impossible
		if err != nil {
			return false, err
		}
		w.log(v, a)
		switch {
		case v == succeeded:
			return true, nil
		case v == impossible:
			return false, &autorestart.RejectedError{
				Path:     c.Path,
				Found:    "a FleetLock server that gives this member no slot (" + a.reason() + ")",
				Expected: "a slot of group " + w.Group,
			}
		case v == unreachable && w.left() <= 0 && w.OnDeadline == Go:
			w.warn("FleetLock server was out of reach until the deadline; restarting without a slot", "reason", a.reason())
			return false, nil
		case v == unreachable && w.left() <= 0:
			return false, &autorestart.RejectedError{
				Path:      c.Path,
				Found:     "a FleetLock server out of reach for " + w.Deadline.String() + " (" + a.reason() + ")",
				Expected:  "a slot of group " + w.Group,
				Retryable: true,
			}
		}
		if err := sleep(ctx, min(pause(attempt, w.RetryInterval, a.retryAfter), w.left())); err != nil {
			return false, err
		}
	}
}

// log logs what an answer changes.
func (w *wait) log(v verdict, a answer) {
	now := time.Now()
	if v == unreachable {
		if w.outage.due(now) {
			w.warn("FleetLock server can't be reached; this version serves on", "since", timestamp(w.outage.since), "reason", a.reason())
		}
		return
	}
	if since, was := w.outage.over(); was {
		w.info("FleetLock server answers again", "since", timestamp(since))
	}
	if v == taken {
		if w.full.due(now) {
			w.info("waiting for a slot; this version serves on", "since", timestamp(w.full.since), "reason", a.reason())
		}
		return
	}
	if since, was := w.full.over(); was && v == succeeded {
		w.info("slot locked", "since", timestamp(since))
	}
}

// left returns how long the Deadline is away.
func (w *wait) left() time.Duration {
	if w.Deadline <= 0 || w.outage.since.IsZero() {
		return forever
	}
	return w.Deadline - time.Since(w.outage.since)
}

const forever time.Duration = 1<<63 - 1

// sleep returns nil after d, or the cause of the end of ctx if that comes first.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
