package watch

import (
	"context"
	"time"

	"github.com/autorestart-go/autorestart/internal/candidate"
)

// AwaitEvent waits, while there is a candidate without an answer, until another file may be at its path.
// The only error is the cause of the end of ctx.
func (w *Watcher) AwaitEvent(ctx context.Context) error {
	if !w.armed {
		w.armed = true
		if w.arm() {
			return nil
		}
	}
	event, err := w.wait(ctx, w.mode.get().Poll)
	w.armed = !event
	return err
}

// pause waits until the next look is due, and whether it has to arm again.
func (w *Watcher) pause(ctx context.Context) error {
	delay := w.mode.get().Poll
	if !w.lookAgain {
		w.retry.Reset()
	} else if d := w.retry.Next(); delay == 0 || d < delay {
		delay = d
	}
	if w.outside != (candidate.ID{}) {
		if d := max(time.Until(w.recheckAt), time.Millisecond); delay == 0 || d < delay {
			delay = d
		}
	}
	event, err := w.wait(ctx, delay)
	if err != nil {
		return err
	}
	if event {
		w.retry.Reset() // the event may tell of all that was missing, a moment early
		w.recheckAt = time.Time{}
	}
	// A missing file may be mounted, and not every system has an event for that: the
	// watches are then on the directory below.
	w.armed = !event && !w.lookAgain && (w.rearmAt.IsZero() || time.Now().Before(w.rearmAt))
	return nil
}

func (w *Watcher) wait(ctx context.Context, d time.Duration) (event bool, err error) {
	if w.source == nil {
		return false, Sleep(ctx, d)
	}
	event, err = w.source.Wait(ctx, d, w.seen)
	switch {
	case err == nil:
		return event, nil
	case ctx.Err() != nil:
		return false, context.Cause(ctx)
	}
	// Other code closed the descriptor, or Go's poller does not take it. Start again
	// with another, but not in a loop that spins.
	w.source.Close()
	w.source = nil
	return true, Sleep(ctx, replaceDelay)
}
