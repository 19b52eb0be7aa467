package drain

import (
	"context"
	"errors"
	"sync"

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

// A PanicError is the panic of a function.
type PanicError struct{ Text string }

func (e *PanicError) Error() string { return "it panicked: " + e.Text }

// Call calls f once the earlier calls have returned, and returns its error; or a
// [*PanicError]; or [ErrStuck] when ctx has ended before that.
func (h *Hook) Call(ctx context.Context, f func() error) error {
	return wait(ctx, h.start(f))
}

// start begins a Call.
func (h *Hook) start(f func() error) (result <-chan error) {
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
		c <- withoutPanic(f)
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

func withoutPanic(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &PanicError{report.PanicText(v)}
		}
	}()
	return f()
}
