package etcdgate

import (
	"context"
	"math/rand/v2"
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

// failed notes that a request has failed, and returns how long to wait before the next one.
func (g *Gate) failed(ctx context.Context, f *failure, err error) time.Duration {
	now := time.Now()
	if f.since.IsZero() {
		f.since = now
	}
	f.count++
	if since, due := g.outage.Due(now); due {
		g.warn("etcd does not answer; the version that runs goes on serving", "group", g.Group, "since", since.Format(time.RFC3339), "reason", g.group.Explain(ctx, err))
	}
	return pauseAfter(f.count - 1)
}

// answered notes that etcd has answered.
func (g *Gate) answered(f *failure) {
	*f = failure{}
	if since, was := g.outage.Over(); was {
		g.info("etcd answers again", "group", g.Group, "duration", time.Since(since).Round(time.Millisecond).String())
	}
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
