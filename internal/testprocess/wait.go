package testprocess

import (
	"context"
	"fmt"
	"testing"
	"time"
)

// Timeout is how long a test waits for something that should take milliseconds, on the clock of
// [Stopwatch].
const Timeout = 20 * time.Second

// Within waits until condition holds, and reports whether it did within that time on the clock
// of [Stopwatch].
func Within(limit time.Duration, condition func() bool) bool {
	for watch := StartStopwatch(); !condition(); time.Sleep(2 * time.Millisecond) {
		if watch.Elapsed() > limit {
			return condition()
		}
	}
	return true
}

// WaitFor waits until condition holds.
func WaitFor(t testing.TB, what string, condition func() bool) {
	t.Helper()
	start := time.Now()
	if !Within(Timeout, condition) {
		t.Fatalf("no %s for %v", what, time.Since(start))
	}
}

// Receive waits for a value from c. If c has been closed, ok is false.
func Receive[T any](t testing.TB, what string, c <-chan T) (v T, ok bool) {
	t.Helper()
	ctx, stop := WithTimeout(context.Background(), Timeout)
	defer stop()
	start := time.Now()
	select {
	case v, ok = <-c:
	case <-ctx.Done():
		t.Fatalf("no %s for %v", what, time.Since(start))
	}
	return v, ok
}

// WithTimeout is [context.WithTimeout] on the clock of [Stopwatch].
func WithTimeout(parent context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(parent)
	watch := StartStopwatch()
	const often = 100 * time.Millisecond // the clock sees threads that end soon
	var look func()
	look = func() {
		switch left := limit - watch.Elapsed(); {
		case ctx.Err() != nil:
		case left <= 0:
			cancel(fmt.Errorf("%w: %v have passed", context.DeadlineExceeded, limit))
		default:
			time.AfterFunc(min(max(left, time.Millisecond), often), look)
		}
	}
	look()
	return ctx, func() { cancel(context.Canceled) }
}

// LimitIO makes reads and writes of a connection fail with [os.ErrDeadlineExceeded] once
// [Timeout] has passed on the clock of [Stopwatch]. A later deadline of the test ends that.
func LimitIO(t testing.TB, c interface{ SetDeadline(time.Time) error }) {
	ctx, stop := WithTimeout(context.Background(), Timeout)
	t.Cleanup(stop)
	context.AfterFunc(ctx, func() {
		if ctx.Err() != nil && context.Cause(ctx) != context.Canceled {
			c.SetDeadline(time.Unix(1, 0))
		}
	})
}
