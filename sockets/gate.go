package sockets

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"
)

// A gate stands before the calls that take something out of a socket: accept and
// receive. While it is held, whoever calls them waits, and whoever is inside is
// sent back to wait, by a deadline that has passed. What nobody has taken stays in
// the kernel. The callers notice nothing, and a deadline of their own still ends
// their waiting.
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

	// waits, unless nil, is called with g locked when somebody begins to wait here, by
	// 1, and stops, by -1.
	waits func(n int)

	mu       sync.Mutex
	deadline time.Time // the user's
	held     bool
	closed   bool
	epoch    uint // counts the holds
	inside   int  // may be in the kernel
	changed  chan struct{}
}

var longAgo = time.Unix(1, 0)

// enter waits until the gate is open. It returns at once if the call would fail
// anyway.
func (g *gate) enter() (epoch uint) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.waitOpen()
	g.inside++
	return g.epoch
}

// waitOpen is called with g locked.
func (g *gate) waitOpen() {
	for g.held && !g.closed && !expired(g.deadline) {
		if g.waits != nil {
			g.waits(+1)
		}
		g.wait(nil, g.deadline)
		if g.waits != nil {
			g.waits(-1)
		}
	}
}

// leave reports whether the call is to be made again. It is called with g locked.
func (g *gate) leave(epoch uint, err error) (again bool) {
	g.inside--
	if g.held || g.closed {
		g.broadcast()
	}
	// Without a hold the deadline was the user's. Who is let in to find the socket
	// closed may be there before it is.
	return (g.held || epoch != g.epoch) && errors.Is(err, os.ErrDeadlineExceeded) && !expired(g.deadline)
}

// shutPatience is for a socket whose calls no deadline ends, because [os.File.Fd] of its
// File has made it blocking.
const shutPatience = time.Second

// shut holds the gate, and waits until nobody is inside: whoever is may still take
// something.
func (g *gate) shut() {
	g.mu.Lock()
	g.hold()
	g.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), shutPatience)
	defer cancel()
	g.await(ctx, func() bool { return g.inside == 0 })
}

// hold and release are called with g locked.
func (g *gate) hold() {
	if !g.held && !g.closed {
		g.held = true
		g.epoch++
		g.arm(longAgo)
		g.broadcast()
	}
}

func (g *gate) release() {
	if g.held {
		g.held = false
		g.arm(g.deadline)
		g.broadcast()
	}
}

// setDeadline sets the user's deadline.
func (g *gate) setDeadline(t time.Time) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.set(t)
}

// set is setDeadline, called with g locked.
func (g *gate) set(t time.Time) error {
	armed := t
	if g.held {
		armed = longAgo
	}
	if err := g.arm(armed); err != nil {
		return err
	}
	g.deadline = t
	g.broadcast()
	return nil
}

// await waits until condition, which is called with g locked, or ctx ends.
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

// wait waits for a change, the end of done or the given time, with g unlocked.
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

// broadcast is called with g locked.
func (g *gate) broadcast() {
	if g.changed != nil {
		close(g.changed)
		g.changed = nil
	}
}

func expired(deadline time.Time) bool {
	return !deadline.IsZero() && !time.Now().Before(deadline)
}
