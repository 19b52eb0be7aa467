package testprocess

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"
)

// Timeout is how long a test waits for something that should take milliseconds, on the clock of
// [Stopwatch].
const Timeout = 20 * time.Second

// clockPause is how often the clock is read during a wait, to see threads that end soon.
const clockPause = 100 * time.Millisecond

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
	return withTimeout(parent, limit, clockPause)
}

func withTimeout(parent context.Context, limit, pause time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(parent)
	watch := StartStopwatch()
	var look func()
	look = func() {
		switch left := limit - watch.Elapsed(); {
		case ctx.Err() != nil:
		case left <= 0:
			cancel(fmt.Errorf("%w: %v have passed", context.DeadlineExceeded, limit))
		default:
			time.AfterFunc(min(max(left, time.Millisecond), pause), look)
		}
	}
	look()
	return ctx, func() { cancel(context.Canceled) }
}

// LimitIO makes reads and writes of a connection fail with [os.ErrDeadlineExceeded] once that time has
// passed on the clock of [Stopwatch], until stop is called. The test may set deadlines before that,
// and take them away again.
func LimitIO(c interface{ SetDeadline(time.Time) error }, limit time.Duration) (stop func()) {
	stopped, cancel := context.WithCancel(context.Background())
	ctx, _ := withTimeout(stopped, limit, max(clockPause, limit/20)) // there may be thousands
	var mu sync.Mutex                                                // no deadline is set after stop
	expire := func() {
		mu.Lock()
		defer mu.Unlock()
		if stopped.Err() == nil {
			c.SetDeadline(time.Unix(1, 0))
		}
	}
	context.AfterFunc(ctx, func() {
		for ; stopped.Err() == nil; time.Sleep(time.Second) {
			expire()
		}
	})
	return func() {
		mu.Lock()
		defer mu.Unlock()
		cancel()
	}
}

// DialContext connects as a [net.Dialer] does. A minute of [LimitIO] holds for the
// connection until it is closed.
func DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, stop := WithTimeout(ctx, time.Minute)
	defer stop()
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return limitedConn{conn, LimitIO(conn, time.Minute)}, nil
}

type limitedConn struct {
	net.Conn
	stop func()
}

func (c limitedConn) Close() error {
	c.stop()
	return c.Conn.Close()
}
