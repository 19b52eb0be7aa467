package fleetlock

import (
	"math/rand/v2"
	"time"
)

// firstPause is the limit of the pause after the first attempt.
const firstPause = time.Second

// defaultRetryInterval is RetryInterval if it is zero.
const defaultRetryInterval = 30 * time.Second

// pauseLimit returns the limit of the pause after an attempt, the first of which has number 0.
func pauseLimit(attempt int, interval time.Duration) time.Duration {
	if interval <= 0 {
		interval = defaultRetryInterval
	}
	limit := firstPause
	for range attempt {
		if limit > interval/2 {
			return interval
		}
		limit *= 2
	}
	return min(limit, interval)
}

// pause returns the pause after an attempt. It is random, so that members that begin to wait at the
// same time don't ask at the same time. The server's Retry-After is added, because many members may
// have got the same.
func pause(attempt int, interval, retryAfter time.Duration) time.Duration {
	return retryAfter + rand.N(pauseLimit(attempt, interval)) + 1
}

// A notice says when a trouble is logged: at its beginning, and then less and less often.
type notice struct {
	since time.Time // zero: there is no trouble
	next  time.Duration
}

const (
	firstRepeat = time.Minute
	lastRepeat  = time.Hour
)

// due begins the trouble if there was none, and reports whether it is time to log it.
func (n *notice) due(now time.Time) bool {
	if n.since.IsZero() {
		*n = notice{now, firstRepeat}
		return true
	}
	if now.Sub(n.since) < n.next {
		return false
	}
	// The times between two lines double, up to an hour.
	n.next = now.Sub(n.since) + min(max(n.next, firstRepeat), lastRepeat)
	return true
}

// over ends the trouble, and reports since when there was one.
func (n *notice) over() (since time.Time, was bool) {
	since = n.since
	*n = notice{}
	return since, !since.IsZero()
}
