// Package measure fails benchmarks that exceed their limits, and repeats those that were only slow.
package measure

import (
	"testing"
	"time"
)

// retries is how often a run is repeated that was too slow but lost nothing:
// machines have moments in which no process runs.
const retries = 2

// A Measurement has limits. Its methods return an error if one is exceeded.
type Measurement interface {
	Lost() error
	Slow() error
}

// Check fails the benchmark unless the measurement that run makes is within its
// limits.
func Check(b *testing.B, run func() (Measurement, error)) {
	b.Helper()
	m, err := run()
	for range retries {
		if err != nil || m.Lost() != nil || m.Slow() == nil {
			break
		}
		b.Log(m.Slow())
		time.Sleep(time.Second) // such a moment may last longer than a run
		m, err = run()
	}
	for _, err := range []error{err, m.Lost(), m.Slow()} {
		if err != nil {
			b.Error(err)
		}
	}
}
