package sockets

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"
)

// A gate stands before the calls that take something out of a socket: accept and
// receive. While the gate is held, callers wait before it, and a deadline in the past
// sends those that are inside back to it. What no call has taken stays in the kernel.
// Callers notice nothing, and their own deadline still ends their wait.
//
// A call goes like this:
//
//	for {
//		epoch := g.enter()
//		… = call()
//		g.mu.Lock()
//		again := g.leave(epoch, err)
//		…
type gate struct {
	// arm sets the deadline of the calls.
	arm func(time.Time) error

	// onWait, unless nil, is called with g locked when a caller begins to wait, with
	// true, and when it stops, with false.
	onWait func(waits bool)

	mu       sync.Mutex
	deadline time.Time // the caller's
	held     bool
	briefly  bool // held by interrupt
	pinned   bool // callers that wait stay, also at their deadline and when the gate is closed
	closed   bool
	epoch    uint          // counts the holds
	inside   int           // callers that may be in the kernel
	changed  chan struct{} // closed by wakeUp; nil if no goroutine waits
}

// past is a deadline that interrupts a call.
var past = time.Unix(1, 0)

// enter waits until the gate is open. It returns at once if the call would fail
// anyway.
func (g *gate) enter() (epoch uint) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.waitOpen()
	g.inside++
	return g.epoch
}

// unpin is called with g locked.
func (g *gate) unpin() {
	g.pinned = false
	g.wakeUp()
}

// waitOpen is called with g locked. A caller that wakes up when the gate is held again has
// waited all the time.
func (g *gate) waitOpen() {
	waits := false
	for g.pinned || (g.held || g.briefly) && !g.closed && !expired(g.deadline) {
		if !waits && g.onWait != nil {
			g.onWait(true)
		}
		waits = true
		until := g.deadline
		if g.pinned {
			until = time.Time{}
		}
		g.wait(nil, until)
	}
	if waits && g.onWait != nil {
		g.onWait(false)
	}
}

// leave reports whether the call was interrupted by a hold and has to be made again.
// It is called with g locked.
func (g *gate) leave(epoch uint, err error) (again bool) {
	g.inside--
	if g.held || g.briefly || g.closed {
		g.wakeUp()
	}
	// If there was no hold since enter, the deadline was the caller's. A gate that is
	// closed and held lets callers in; one that comes before the socket is closed is
	// interrupted, too.
	return (g.held || g.briefly || epoch != g.epoch) && errors.Is(err, os.ErrDeadlineExceeded) && !expired(g.deadline)
}

// emptyTimeout is for a socket whose calls no deadline interrupts: [os.File.Fd] of its
// File has made it blocking. Quiesce has a second in all, see [autorestart.Drainer].
const emptyTimeout = 500 * time.Millisecond

// holdAndWait holds the gate and waits until no caller is inside, where it could still
// take something.
func (g *gate) holdAndWait() {
	g.mu.Lock()
	g.hold()
	g.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), emptyTimeout)
	defer cancel()
	g.await(ctx, func() bool { return g.inside == 0 })
}

// hold is called with g locked.
func (g *gate) hold() {
	if !g.held && !g.closed {
		g.held = true
		g.epoch++
		g.arm(past)
		g.wakeUp()
	}
}

// release is called with g locked.
func (g *gate) release() {
	if g.held {
		g.held = false
		g.rearm()
	}
}

// rearm is called with g locked, when a hold has ended.
func (g *gate) rearm() {
	if !g.held && !g.briefly {
		g.arm(g.deadline)
	}
	g.wakeUp()
}

// interrupt sends the callers that are inside back to the gate, and lets them in again.
func (g *gate) interrupt() {
	ctx, cancel := context.WithTimeout(context.Background(), emptyTimeout)
	defer cancel()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.held || g.briefly || g.closed || g.inside == 0 {
		return // all come by the gate
	}
	g.briefly = true
	g.epoch++
	g.arm(past)
	for g.inside > 0 && ctx.Err() == nil {
		g.wait(ctx.Done(), time.Time{})
	}
	g.briefly = false
	g.rearm()
}

// setDeadline sets the caller's deadline.
func (g *gate) setDeadline(t time.Time) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.setDeadlineLocked(t)
}

func (g *gate) setDeadlineLocked(t time.Time) error {
	armed := t
	if g.held || g.briefly {
		armed = past
	}
	if err := g.arm(armed); err != nil {
		return err
	}
	g.deadline = t
	g.wakeUp()
	return nil
}

// await waits until condition holds or ctx ends. It calls condition with g locked.
func (g *gate) await(ctx context.Context, condition func() bool) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	for !condition() {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		g.wait(ctx.Done(), time.Time{})
	}
	return nil
}

// wait unlocks g, waits for wakeUp, the end of done or the given time, and locks g.
func (g *gate) wait(done <-chan struct{}, until time.Time) {
	if g.changed == nil {
		g.changed = make(chan struct{})
	}
	changed := g.changed
	var timeout <-chan time.Time
	if !until.IsZero() {
		timeout = time.After(time.Until(until))
	}
	g.mu.Unlock()
	defer g.mu.Lock()
	select {
	case <-changed:
	case <-timeout:
	case <-done:
	}
}

// earlier returns the given time, or the caller's deadline if that comes first. It is called
// with g locked.
func (g *gate) earlier(t time.Time) time.Time {
	if !g.deadline.IsZero() && g.deadline.Before(t) {
		return g.deadline
	}
	return t
}

// wakeUp is called with g locked.
func (g *gate) wakeUp() {
	if g.changed != nil {
		close(g.changed)
		g.changed = nil
	}
}

func expired(deadline time.Time) bool {
	return !deadline.IsZero() && !time.Now().Before(deadline)
}
