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
