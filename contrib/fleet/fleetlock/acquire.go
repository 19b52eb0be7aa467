package fleetlock

import (
	"context"
	"time"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/contrib/fleet/internal/pace"
)

// A wait is that of one Acquire.
type wait struct {
	*Gate
	from   identity
	maybe  bool        // the server may have locked a slot, although no answer says so
	full   pace.Notice // there is no slot
	outage pace.Notice // the server can't be reached
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
		if err := pace.Sleep(ctx, min(pause(attempt, w.RetryInterval, a.retryAfter), w.left())); err != nil {
			return false, err
		}
	}
}

// log logs what an answer changes.
func (w *wait) log(v verdict, a answer) {
	now := time.Now()
	if v == unreachable {
		if since, due := w.outage.Due(now); due {
			w.warn("FleetLock server can't be reached; this version serves on", "since", timestamp(since), "reason", a.reason())
		}
		return
	}
	if since, was := w.outage.Over(); was {
		w.info("FleetLock server answers again", "since", timestamp(since))
	}
	if v == taken {
		if since, due := w.full.Due(now); due {
			w.info("waiting for a slot; this version serves on", "since", timestamp(since), "reason", a.reason())
		}
		return
	}
	if since, was := w.full.Over(); was && v == succeeded {
		w.info("slot locked", "since", timestamp(since))
	}
}

// left returns how long the Deadline is away.
func (w *wait) left() time.Duration {
	since := w.outage.Since()
	if w.Deadline <= 0 || since.IsZero() {
		return forever
	}
	return w.Deadline - time.Since(since)
}

const forever time.Duration = 1<<63 - 1
