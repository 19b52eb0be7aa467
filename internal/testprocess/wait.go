package testprocess

import (
	"context"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart/internal/testclock"
)

// Timeout is [testclock.Timeout].
const Timeout = testclock.Timeout

// Stopwatch is [testclock.Stopwatch].
type Stopwatch = testclock.Stopwatch

// StartStopwatch is [testclock.StartStopwatch].
func StartStopwatch() Stopwatch { return testclock.StartStopwatch() }

// Within is [testclock.Within].
func Within(limit time.Duration, condition func() bool) bool {
	return testclock.Within(limit, condition)
}

// WaitFor is [testclock.WaitFor].
func WaitFor(t testing.TB, what string, condition func() bool) {
	t.Helper()
	testclock.WaitFor(t, what, condition)
}

// Receive is [testclock.Receive].
func Receive[T any](t testing.TB, what string, c <-chan T) (v T, ok bool) {
	t.Helper()
	return testclock.Receive(t, what, c)
}

// WithTimeout is [testclock.WithTimeout].
func WithTimeout(parent context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	return testclock.WithTimeout(parent, limit)
}
