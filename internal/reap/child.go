package reap

import (
	"errors"
	"os"
	"syscall"
)

// child is a child process that some part of this package has undertaken to wait
// for.
type child struct {
	identity
	sent []syscall.Signal
}

func (s *Snapshot) child(pid int) *child {
	return &child{identity: identity{from: s, pid: pid}}
}

// collect waits for the child if it has exited, and then fills in name, status and
// usage of e unless that is nil. It returns NotOurs if the child is gone, and its
// status with it. An error says that the wait failed, and nothing about the child.
func (c *child) collect(e *Exit) (State, error) {
	s := c.from
	if done, ok := s.takeDone(c.pid); ok {
		if e != nil {
			*e = done
		}
		return Exited, nil
	}
	c.command = "" // it may have executed another program since
	if c.pidfd != nil {
		c.nameIn(e)
		if state, err := c.pidfd.Wait(e); err == nil {
			return state, nil
		}
		// Linux 5.3 has no such call, and a filter may not allow it. The PID will do.
	}
	if c.pidfd == nil && (e != nil || !c.vouched) && s.peek(c.pid) == Running { // costs least
		return Running, nil
	}
	if !c.vouched && !c.belongs() {
		return NotOurs, nil
	}
	c.nameIn(e)
	return s.table.Wait(c.pid, e)
}

// nameIn notes the name of the child, which there is no more after the wait.
func (c *child) nameIn(e *Exit) {
	if e == nil {
		return
	}
	if e.Command = c.command; e.Command == "" {
		e.Command = c.from.command(c.pid)
	}
}

// errLost is the answer for a child whose PID does not belong to it any more.
var errLost = errors.New("the PID does not belong to the child any more")

// signal sends the child a signal. If the child has been waited for, it returns
// errLost, or [os.ErrProcessDone] where the system says so.
func (c *child) signal(sig syscall.Signal) error {
	if c.pidfd != nil {
		err := c.pidfd.Signal(sig)
		if err == nil || err == os.ErrProcessDone {
			return err
		}
		// Perhaps only this call is not allowed.
	}
	if !c.belongs() {
		return errLost
	}
	return c.from.table.Kill(c.pid, sig)
}

// mayBeStopped reports whether a child that lives is not known to see signals. If its first
// thread has exited, that thread's state says nothing of the others.
func (c *child) mayBeStopped() bool {
	stat, err := c.from.stat(c.pid)
	if err != nil {
		return true
	}
	switch stat.State {
	case Stopped, StoppedByTracer:
		return true
	case Zombie:
		state, err := c.from.table.Peek(c.pid)
		return err != nil || state == Running
	default:
		return false
	}
}
