package sockets

import (
	"context"
	"syscall"
)

// An opening makes claiming or binding a socket and registering it one step for a drain:
// one that begins waits until the step is done, and the step waits for the end of one that
// is under way. A socket that was claimed and is not registered would be drained by nothing.
type opening struct {
	ctx  context.Context
	done func() // nil if the step has not begun
}

// begin begins the step. It fails if ctx ends during a drain.
func (o *opening) begin() (err error) {
	if hasExec && o.done == nil {
		o.done, err = waitForDrain(o.ctx)
	}
	return err
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
