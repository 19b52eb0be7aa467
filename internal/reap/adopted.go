package reap

import (
	"context"
	"os"
	"sync"
	"syscall"
	"time"
)

// Adopted is an inherited child in the hands of the program. It is held until its
// exit has been waited for, or until Release. Its methods may be called by several
// goroutines at once.
type Adopted struct {
	pid      int
	released chan struct{} // closed by Release
	waiting  chan struct{} // holds a token while a Wait looks for the exit

	mu    sync.Mutex
	child *child // nil once the child has been waited for or released
	exit  *Exit  // not nil once the child has been waited for
}

// Adopt takes the child out of the snapshot. ok is false if there is no such child,
// or it is not free.
func (s *Snapshot) Adopt(pid int) (a *Adopted, ok bool) {
	if !s.take(pid) {
		return nil, false
	}
	c := s.child(pid)
	c.hold()
	if !s.isDone(pid) && !c.belongs() {
		c.release()
		return nil, false
	}
	return &Adopted{
		pid:      pid,
		released: make(chan struct{}),
		waiting:  make(chan struct{}, 1),
		child:    c,
	}, true
}

// PID returns the PID of the child.
func (a *Adopted) PID() int { return a.pid }

// Signal sends the child a signal. It returns [os.ErrProcessDone] if the child has
// been waited for, and [os.ErrClosed] after Release.
func (a *Adopted) Signal(sig syscall.Signal) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.exit != nil:
		return os.ErrProcessDone
	case a.child == nil:
		return os.ErrClosed
	case a.child.from.isDone(a.pid):
		return os.ErrProcessDone
	}
	err := a.child.signal(sig)
	switch err {
	case nil:
		a.child.sent = append(a.child.sent, sig)
	case errLost:
		return os.ErrProcessDone
	}
	return err
}

// Wait waits until the child has exited and returns its exit, also when called
// again. It returns ctx's error if ctx ends before that, and [os.ErrClosed] after
// Release.
func (a *Adopted) Wait(ctx context.Context) (Exit, error) {
	select {
	case a.waiting <- struct{}{}:
		defer func() { <-a.waiting }()
	case <-ctx.Done():
		return Exit{}, ctx.Err()
	}
	if e, next, err := a.look(); next == answered {
		return e, err
	}

	exits, someExit, stop := a.watch(true)
	defer func() { stop() }()
	var retry <-chan time.Time
	announced := false
	for {
		e, next, err := a.look()
		if next == answered {
			return e, err
		}
		if retry == nil && (announced || next == waitFailed) { // a tracer holds it, or the call failed
			retry = time.After(stuckPause)
		}
		select {
		case _, ok := <-exits:
			if !ok { // nothing is announced any more
				stop()
				exits, someExit, stop = a.watch(false)
				continue
			}
			announced = true
		case <-retry:
			retry = nil
		case <-someExit:
		case <-a.released:
		case <-ctx.Done():
			return Exit{}, ctx.Err()
		}
	}
}

// watch has the child's exit announced by its pidfd or, if it has none or that is not asked
// for, the exit of any child.
func (a *Adopted) watch(byPidfd bool) (exits <-chan []int, someExit <-chan os.Signal, stop func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.child == nil {
		return nil, nil, func() {}
	}
	x := newExits(a.child.from.table)
	if byPidfd && a.child.pidfd != nil && x.watch(a.child) {
		return x.announced, nil, x.close
	}
	x.close()
	someExit, stop = a.child.from.table.NotifyExits()
	return nil, someExit, stop
}

// outcome says what a look at an adopted child has brought.
type outcome int

const (
	answered   outcome = iota // Wait returns
	running                   // the next exit will tell
	waitFailed                // nothing is known, and no further exit may be announced
)

// look looks once whether the child has exited.
func (a *Adopted) look() (e Exit, next outcome, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.exit != nil {
		return *a.exit, answered, nil
	}
	if a.child == nil {
		return Exit{}, answered, os.ErrClosed
	}
	e = Exit{PID: a.pid, Sent: a.child.sent}
	state, err := a.child.collect(&e)
	switch {
	case err != nil:
		return Exit{}, waitFailed, nil
	case state == Running:
		return Exit{}, running, nil
	case state == NotOurs:
		e = Exit{PID: a.pid, Sent: a.child.sent, Code: -1, Lost: true}
	}
	a.child.release()
	a.child, a.exit = nil, &e
	return e, answered, nil
}

// Release gives up the child without waiting. It is then free again. A Wait that is
// going on returns.
func (a *Adopted) Release() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.child == nil {
		return os.ErrClosed
	}
	from := a.child.from
	a.child.release()
	a.child = nil
	close(a.released)
	from.GiveBack(a.pid)
	return nil
}
