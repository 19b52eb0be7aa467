package autorestart

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

// Child is what is known of a child that this process had before its present
// image was executed.
type Child struct {
	PID     int
	Command string    // the kernel's name for it, at most 15 bytes; empty if it can't be had
	Args    []string  // its command line; none for a zombie
	Started time.Time // to 10 ms; zero if it can't be had
}

// ErrNotInherited is returned by [Adopt] for a PID that is not an inherited
// child's, or that of one that was taken already.
var ErrNotInherited = errors.New("autorestart: not an inherited child, or not free")

// InheritedChildren lists the children that this process had before its present
// image was executed and that nobody has taken: no [Reaper] and no [Adopt]. Some
// of them may be zombies.
//
// If the error is not nil, some may be missing from the list.
func InheritedChildren() ([]Child, error) {
	var children []Child
	for _, pid := range inheritedChildren.list() {
		children = append(children, describe(pid))
	}
	return children, inheritedChildren.err
}

// ChildProcess is a handle on an inherited child, for a program that means to keep
// what its earlier image has started. It works like an [os.Process], by pidfd
// where there are pidfds. No Reaper touches an adopted child.
//
// Its methods may be called by several goroutines at once.
type ChildProcess struct {
	pid      int
	from     *inheritance
	released chan struct{} // closed by Release
	waiting  chan struct{} // holds a token while somebody waits for the exit

	mu    sync.Mutex
	child *child     // nil once it has been waited for or released
	exit  *ChildExit // not nil once it has been waited for

}

// Adopt takes over an inherited child. The caller must call [ChildProcess.Wait] until
// it returns the child's ChildExit, or [ChildProcess.Release].
func Adopt(pid int) (*ChildProcess, error) { return inheritedChildren.adopt(pid) }

func (h *inheritance) adopt(pid int) (*ChildProcess, error) {
	if !h.lists(pid) || !h.take(pid) {
		return nil, ErrNotInherited
	}
	c := &child{pid: pid, fd: noPidfd}
	hold(c)
	if _, later := identify(pid, h.imageStart()); later || isForeign(c) {
		c.release()
		return nil, ErrNotInherited
	}
	return &ChildProcess{
		pid:      pid,
		from:     h,
		released: make(chan struct{}),
		waiting:  make(chan struct{}, 1),
		child:    c,
	}, nil
}

// PID returns the PID of the child.
func (a *ChildProcess) PID() int { return a.pid }

// Signal sends the child a signal, which has to be a [syscall.Signal]. It returns
// [os.ErrProcessDone] if the child has exited and was waited for, and
// [os.ErrClosed] after Release.
func (a *ChildProcess) Signal(sig os.Signal) error {
	s, ok := sig.(syscall.Signal)
	if !ok {
		return os.NewSyscallError("kill", errors.ErrUnsupported)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.exit != nil:
		return os.ErrProcessDone
	case a.child == nil:
		return os.ErrClosed
	}
	if a.child.fd == noPidfd {
		if _, later := identify(a.pid, a.from.imageStart()); later || a.from.isDone(a.pid) {
			return os.ErrProcessDone
		}
	}
	if err := signalChild(a.child, s); err != nil {
		return err
	}
	a.child.sent = append(a.child.sent, s)
	return nil
}

// Wait waits until the child has exited and returns what it exited with; called
// again, it returns the same. It returns ctx's error if ctx ends before that, and
// [os.ErrClosed] after Release.
func (a *ChildProcess) Wait(ctx context.Context) (ChildExit, error) {
	select {
	case a.waiting <- struct{}{}:
		defer func() { <-a.waiting }()
	case <-ctx.Done():
		return ChildExit{}, ctx.Err()
	}
	if e, err, done := a.ask(); done {
		return e, err
	}

	exits := newExits()
	defer exits.close()
	var sigchld chan os.Signal
	if !a.watch(exits) {
		sigchld = make(chan os.Signal, 1)
		notifyExits(sigchld)
		defer signal.Stop(sigchld)
	}
	var retry <-chan time.Time
	for {
		if e, err, done := a.ask(); done {
			return e, err
		}
		select {
		case <-exits.ready:
			retry = time.After(stuckPause) // unless it has exited, a tracer holds it
		case <-retry:
			retry = time.After(stuckPause)
		case <-sigchld:
		case <-a.released:
		case <-ctx.Done():
			return ChildExit{}, ctx.Err()
		}
	}
}

// watch has the child's exit announced by exits, unless it has no pidfd.
func (a *ChildProcess) watch(exits *exits) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.child != nil && a.child.fd != noPidfd && exits.watch(a.child)
}

// ask asks once whether the child has exited.
func (a *ChildProcess) ask() (e ChildExit, err error, done bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.exit != nil {
		return *a.exit, nil, true
	}
	if a.child == nil {
		return ChildExit{}, os.ErrClosed, true
	}
	pinned := a.child.fd != noPidfd
	if !pinned && peekChild(a.pid) == waitRunning {
		return ChildExit{}, nil, false
	}
	e = ChildExit{PID: a.pid, Sent: a.child.sent}
	command, later := identify(a.pid, a.from.imageStart())
	state := waitNotOurs
	if pinned || !later {
		state = a.from.wait(a.child, &e)
	}
	switch state {
	case waitRunning:
		return ChildExit{}, nil, false
	case waitNotOurs:
		e.Code, e.Lost = -1, true
	case waitExited:
		e.Command = command
	}
	a.child.release()
	a.child, a.exit = nil, &e
	return e, nil, true
}

// Release gives up the handle without waiting. The child is then free again, for
// a Reaper or another Adopt. A Wait that is going on returns.
func (a *ChildProcess) Release() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.child == nil {
		return os.ErrClosed
	}
	a.child.release()
	a.child = nil
	close(a.released)
	a.from.giveBack(a.pid)
	return nil
}
