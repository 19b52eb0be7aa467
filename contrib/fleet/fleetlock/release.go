package fleetlock

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/autorestart-go/autorestart/contrib/fleet/internal/pace"
)

// giveBackWait is how long an Acquire that fails waits for the first attempt to give back the slot that
// the server may have locked for it.
const giveBackWait = 2 * time.Second

// A release releases the slot of a member in the background.
type release struct {
	from   identity
	cancel context.CancelFunc
	tried  chan struct{} // closed after the first attempt
	done   chan struct{} // closed at the end
	err    error         // why the slot is not known to be released; valid after the end
}

// beginRelease begins a release. It is tried again until ctx ends.
func (g *Gate) beginRelease(ctx context.Context, from identity) *release {
	ctx, cancel := context.WithCancel(ctx)
	r := &release{from: from, cancel: cancel, tried: make(chan struct{}), done: make(chan struct{})}
	g.slot, g.releasing = free, r
	go func() {
		defer close(r.done)
		defer cancel()
		r.err = g.unlock(ctx, from, sync.OnceFunc(func() { close(r.tried) }))
	}()
	return r
}

// endRelease ends the release in the background, if there is one of this member, and reports whether
// the slot may still be locked. The last request may still be under way. A release of the ID that an
// earlier version had goes on.
func (g *Gate) endRelease(from identity) (maybeLocked bool) {
	r := g.releasing
	if r == nil || r.from != from {
		return false
	}
	g.releasing = nil
	r.cancel()
	<-r.done
	return r.err != nil
}

// release releases the slot. It waits until that is done, ctx ends, or the Deadline is over.
func (g *Gate) release(ctx context.Context, from identity) error {
	r := g.beginRelease(ctx, from)
	var deadline <-chan time.Time
	if g.Deadline > 0 {
		timer := time.NewTimer(g.Deadline)
		defer timer.Stop()
		deadline = timer.C
	}
	select {
	case <-r.done:
		return r.err
	case <-deadline:
		return fmt.Errorf("fleetlock: slot not released within %v; the attempts go on", g.Deadline)
	}
}

// giveBack releases a slot that the server may have locked for an Acquire that fails. It does not
// wait long. The attempts go on until the next call of Acquire or Release.
func (g *Gate) giveBack(from identity) {
	r := g.beginRelease(context.Background(), from)
	timer := time.NewTimer(giveBackWait)
	defer timer.Stop()
	select {
	case <-r.tried:
	case <-timer.C:
	}
}

// unlock releases the slot of a member. It tries again until ctx ends, or the server answers that it
// never will. It calls tried after each attempt.
func (g *Gate) unlock(ctx context.Context, from identity, tried func()) error {
	var trouble pace.Notice
	for attempt := 0; ; attempt++ {
		a, err := g.server.post(ctx, steadyState, from)
		tried()
		if err != nil {
			return err
		}
		v := a.verdict(steadyState)
		switch v {
		case succeeded:
			if since, was := trouble.Over(); was {
				g.info("slot released", "since", timestamp(since))
			}
			return nil
		case impossible:
			return errors.New("fleetlock: the server does not release a slot of this member (" + a.reason() + ")")
		}
		lostRace := v == taken && attempt == 0 // most likely, because a release needs no free slot
		if !lostRace {
			if since, due := trouble.Due(time.Now()); due {
				g.warn("slot can't be released; trying again", "since", timestamp(since), "reason", a.reason())
			}
		}
		if err := pace.Sleep(ctx, pause(attempt, g.RetryInterval, a.retryAfter)); err != nil {
			return err
		}
	}
}
