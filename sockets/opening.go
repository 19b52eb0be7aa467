package sockets

import (
	"context"
	"errors"
	"syscall"
	"time"
)

// An opening makes claiming or binding a socket and registering it one step for a drain: a
// socket that was claimed and is not registered would be drained by nothing. A socket that
// is bound during a drain is quiesced at once and drained with the others. Right before the
// exec the step waits until that has failed.
type opening struct {
	ctx      context.Context
	registry *registry
	done     func() // nil if the step has not begun

	inUse time.Time // when the address was found in use for the first time
}

// begin begins the step for a new socket. It fails if ctx ends while it waits.
func (o *opening) begin() error { return o.beginBy(o.registry.openForDrain) }

// beginClaim begins the step for an inherited socket. It waits for the end of a drain.
func (o *opening) beginClaim() error { return o.beginBy(o.registry.claimForDrain) }

func (o *opening) beginBy(step func(context.Context) (done func(), err error)) (err error) {
	if hasExec && o.done == nil {
		o.done, err = step(o.ctx)
	}
	return err
}

const (
	// inUseLimit is how long an address that is in use is tried again. A process that has
	// stood in for one that is dead closes its copy of the socket within that time, and a
	// supervisor may start the next process before.
	inUseLimit = 100 * time.Millisecond

	inUseInterval = 5 * time.Millisecond

	// flushLimit is the time for flush.
	flushLimit = 5 * time.Second
)

// again reports whether the socket can be opened if it is tried again. Then it has waited: the
// address was in use by a socket that the program has closed during a drain, which has ended by
// now, or by another process, which may be about to close it.
func (o *opening) again(err error) bool {
	if !hasExec || !errors.Is(err, syscall.EADDRINUSE) {
		return false
	}
	o.end()
	waited, ended := o.registry.awaitDrainEnd(o.ctx)
	if waited || ended != nil {
		return ended == nil
	}
	if o.inUse.IsZero() {
		o.flush()
		o.inUse = time.Now()
	}
	if time.Since(o.inUse) > inUseLimit {
		return false
	}
	select {
	case <-time.After(inUseInterval):
	case <-o.ctx.Done():
	}
	return o.ctx.Err() == nil
}

// flush waits until a supervisor has closed its copies of sockets that the program has closed.
func (o *opening) flush() {
	limited, cancel := context.WithTimeout(o.ctx, flushLimit)
	defer cancel()
	o.registry.Store.FlushKeeper(limited)
}

// end ends the step, if it has begun.
func (o *opening) end() {
	if o.done != nil {
		o.done()
		o.done = nil
	}
}

// A control is the function of that name in [net.ListenConfig].
type control func(network, address string, c syscall.RawConn) error

// before returns a control that begins the step after next, which may be nil: package net
// has resolved the address by then, which can take long, and is about to bind the socket.
func (o *opening) before(next control) control {
	return func(network, address string, c syscall.RawConn) error {
		if next != nil {
			if err := next(network, address, c); err != nil {
				return err
			}
		}
		return o.begin()
	}
}
