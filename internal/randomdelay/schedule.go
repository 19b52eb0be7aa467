package randomdelay

import (
	"sync"
	"time"
)

// A Schedule says how long the restarts of a process are delayed from now on. Any goroutine may call its
// methods.
type Schedule struct {
	limit   time.Duration
	machine string

	mu      sync.Mutex
	version string    // that was asked for last
	since   time.Time // from when its delay counts
	allowed bool      // the restart into it was allowed
}

// New returns a Schedule for this machine.
func New(limit time.Duration) *Schedule { return &Schedule{limit: limit, machine: Machine()} }

// Delay returns how long the restart into a version is to be delayed. The delay counts from the first call. A
// delay that has ended while no restart waited for it was that of an earlier deploy, so it begins again.
func (s *Schedule) Delay(version string) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	delay := Of(s.machine, version, s.limit)
	left := time.Until(s.since.Add(delay))
	if s.version != version || left <= 0 && !s.allowed {
		s.version, s.since, s.allowed = version, time.Now(), false
		return delay
	}
	return max(0, left)
}

// Allow is called when the delay of a version has ended, and the restart is allowed.
func (s *Schedule) Allow(version string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.version == version {
		s.allowed = true
	}
}
