package drain

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/autorestart-go/autorestart/internal/report"
)

// A Hook calls functions of the program, which may block or panic. They are called one
// after the other, each on a goroutine of its own, so that one that does not return holds
// up nothing but the next calls of the same Hook.
type Hook struct {
	mu   sync.Mutex
	last chan struct{} // closed when the last call has returned; nil before the first
}

// ErrStuck says that a function has not returned in time. It is still running.
var ErrStuck = errors.New("it does not return")

// A PanicError is the panic of a function, or says that the function has ended its goroutine.
type PanicError struct{ Text string }

func (e *PanicError) Error() string { return "it panicked: " + e.Text }

// Call calls f once the earlier calls have returned, and returns its error; or a
// [*PanicError]; or [ErrStuck] when ctx has ended before that. After the end of ctx, f is not
// called any more.
func (h *Hook) Call(ctx context.Context, f func() error) error {
	return wait(ctx, h.Start(func() error {
		if ctx.Err() != nil {
			return ErrStuck
		}
		return f()
	}))
}

// CallWithin is Call for an f that gets a context which ends after timeout, or with ctx. If
// f ignores that end, CallWithin returns a moment later.
func (h *Hook) CallWithin(ctx context.Context, timeout time.Duration, f func(context.Context) error) error {
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	later, end := endingAfter(limited, hookTimeout)
	defer end()
	return h.Call(later, func() error { return f(limited) })
}

// endingAfter returns a context that ends d after ctx, or by a call of end.
func endingAfter(ctx context.Context, d time.Duration) (later context.Context, end func()) {
	later, cancel := context.WithCancel(context.Background())
	stop := context.AfterFunc(ctx, func() {
		select {
		case <-time.After(d):
			cancel()
		case <-later.Done():
		}
	})
	return later, func() {
		stop()
		cancel()
	}
}

// Start begins a Call without an end. The channel receives the result.
func (h *Hook) Start(f func() error) (result <-chan error) {
	returned := make(chan struct{})
	h.mu.Lock()
	before := h.last
	h.last = returned
	h.mu.Unlock()
	c := make(chan error, 1)
	go func() {
		defer close(returned)
		if before != nil {
			<-before
		}
		err := error(&PanicError{"with runtime.Goexit"})
		defer func() { c <- err }()
		err = WithoutPanic(f)
	}()
	return c
}

// wait ends a Call.
func wait(ctx context.Context, result <-chan error) error {
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-result: // both at once
		return err
	default:
		return ErrStuck
	}
}

// WithoutPanic calls f, and returns its error, or a [*PanicError].
func WithoutPanic(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &PanicError{report.PanicText(v)}
		}
	}()
	return f()
}
