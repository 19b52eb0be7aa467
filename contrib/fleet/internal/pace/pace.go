// Package pace has what the gates have in common while a server does not answer: when that is logged, and
// pauses that end early.
package pace

import (
	"context"
	"sync"
	"time"
)

// A Notice says when a trouble is logged: at its beginning, after a minute, and then at intervals that
// double, up to an hour. The zero value has no trouble. Any goroutine may call its methods.
type Notice struct {
	mu    sync.Mutex
	since time.Time // zero: there is no trouble
	next  time.Duration
}

const (
	firstRepeat = time.Minute
	lastRepeat  = time.Hour
)

// Due begins the trouble if there was none, and reports since when there is one, and whether it is time to
// log it.
func (n *Notice) Due(now time.Time) (since time.Time, due bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.since.IsZero() {
		n.since, n.next = now, firstRepeat
		return n.since, true
	}
	lasted := now.Sub(n.since)
	if lasted < n.next {
		return n.since, false
	}
	n.next = lasted + min(n.next, lastRepeat)
	return n.since, true
}

// Since returns since when there is a trouble. It returns the zero Time if there is none.
func (n *Notice) Since() time.Time {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.since
}

// Over ends the trouble, and reports since when there was one.
func (n *Notice) Over() (since time.Time, was bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	since = n.since
	n.since = time.Time{}
	return since, !since.IsZero()
}

// Sleep returns nil after d, or the cause of the end of ctx if that comes first.
func Sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
