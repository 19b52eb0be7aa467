package testclock

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"
)

// Timeout is how long a test waits for something that should take milliseconds, on the clock of
// [Stopwatch].
const Timeout = 20 * time.Second

// Pause is how often the clock is read during a wait, to see threads that end soon.
const Pause = 100 * time.Millisecond

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
	return WithTimeoutLooking(parent, limit, Pause)
}

// WithTimeoutLooking is [WithTimeout] that looks at the clock after each pause.
func WithTimeoutLooking(parent context.Context, limit, pause time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(parent)
	watch := StartStopwatch()
	var looking sync.Mutex // a look at the clock opens files: there is none after the end
	var look func()
	look = func() {
		looking.Lock()
		defer looking.Unlock()
		if ctx.Err() != nil {
			return
		}
		left := limit - watch.Elapsed()
		if left <= 0 {
			cancel(fmt.Errorf("%w: %v have passed", context.DeadlineExceeded, limit))
			return
		}
		time.AfterFunc(min(max(left, time.Millisecond), pause), look)
	}
	look()
	return ctx, func() {
		cancel(context.Canceled)
		looking.Lock()
		defer looking.Unlock()
	}
}
