package etcdgate

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// A failure is a time in which the requests of one call have failed.
type failure struct {
	since time.Time // of the first failed request; zero while etcd answers
	count int
}

// Pauses between requests that fail. They double, and each is shortened by up to a half, so that members
// don't ask in the same moment.
const (
	firstPause = 50 * time.Millisecond
	lastPause  = 5 * time.Second
)

// pauseAfter returns the pause after a number of failures.
func pauseAfter(count int) time.Duration {
	pause := min(lastPause, firstPause<<min(count, 20))
	return pause - rand.N(pause/2)
}

// An outage is a time in which etcd does not answer. It is logged at once, and then at intervals that
// double, however many calls are under way.
type outage struct {
	mu    sync.Mutex
	since time.Time // zero while etcd answers
	next  time.Duration
}

// firstReminder is the time between the first line and the second.
const firstReminder = time.Minute

// failed notes that a request has failed, and returns how long to wait before the next one.
func (g *Gate) failed(ctx context.Context, f *failure, err error) time.Duration {
	now := time.Now()
	if f.since.IsZero() {
		f.since = now
	}
	f.count++
	if since, due := g.outage.isDue(now); due {
		g.warn("etcd does not answer; the version that runs goes on serving", "group", g.Group, "since", since.Format(time.RFC3339), "reason", g.group.Explain(ctx, err))
	}
	return pauseAfter(f.count - 1)
}

// answered notes that etcd has answered.
func (g *Gate) answered(f *failure) {
	*f = failure{}
	if lasted := g.outage.end(time.Now()); lasted > 0 {
		g.info("etcd answers again", "group", g.Group, "duration", lasted.Round(time.Millisecond).String())
	}
}

// isDue reports whether a line is due, and since when etcd does not answer.
func (o *outage) isDue(now time.Time) (since time.Time, due bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.since.IsZero():
		o.since, o.next = now, firstReminder
		return o.since, true
	case now.Sub(o.since) >= o.next:
		o.next *= 2
		return o.since, true
	}
	return o.since, false
}

// end returns how long the outage has lasted.
func (o *outage) end(now time.Time) (lasted time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.since.IsZero() {
		lasted = max(1, now.Sub(o.since))
		o.since = time.Time{}
	}
	return lasted
}

func (g *Gate) info(msg string, args ...any) {
	if g.Logger != nil {
		g.Logger.Info("etcdgate: "+msg, args...)
	}
}

func (g *Gate) warn(msg string, args ...any) {
	if g.Logger != nil {
		g.Logger.Warn("etcdgate: "+msg, args...)
	}
}
