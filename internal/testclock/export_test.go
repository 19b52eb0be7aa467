package testclock

import "time"

// Now returns the time on the clock.
func Now() time.Duration { return now() }

// Presume has the clock go at that speed, and not look again before the pause is over.
func Presume(speed float64, pause time.Duration) {
	clock.mu.Lock()
	defer clock.mu.Unlock()
	clock.speed, clock.pause = speed, pause
}

// LastLook returns when the clock was read last.
func LastLook() time.Time {
	clock.mu.Lock()
	defer clock.mu.Unlock()
	return clock.told
}
