package httpconn

import "sync/atomic"

// A Wakeup wakes goroutines that wait for a change. It costs next to nothing while none waits.
type Wakeup struct{ c atomic.Pointer[chan struct{}] }

// Next returns a channel that the next Broadcast closes. Call it before looking at what
// may change.
func (w *Wakeup) Next() <-chan struct{} {
	for {
		if c := w.c.Load(); c != nil {
			return *c
		}
		c := make(chan struct{})
		if w.c.CompareAndSwap(nil, &c) {
			return c
		}
	}
}

// Broadcast wakes the goroutines that wait.
func (w *Wakeup) Broadcast() {
	if w.c.Load() == nil {
		return
	}
	if c := w.c.Swap(nil); c != nil {
		close(*c)
	}
}
