package autorestart

import (
	"context"
	"errors"
	"os"
	"syscall"
	"time"

	"github.com/autorestart-go/autorestart/internal/reap"
)

// A Child is a child that this process had before its present image was executed, or an
// orphan, see [Orphans].
type Child struct {
	PID     int
	Command string    // the kernel's name for it, at most 15 bytes; empty if it is not known
	Args    []string  // the first 32 KiB of its command line, at most 4,096 arguments; none for a zombie
	Started time.Time // with a resolution of 10 ms; zero if it is not known
}

// ErrNotInherited is returned by [Adopt] if no inherited child has the PID, or if a
// [Reaper] or a [ChildProcess] has that child.
var ErrNotInherited = errors.New("autorestart: no inherited child has this PID, or a Reaper or a ChildProcess has the child")

// InheritedChildren lists the free children: those that this process had before its
// present image was executed, and that neither a [Reaper] nor a [ChildProcess] has. Some
// of them may be zombies.
//
// If the error is not nil, some children may be missing from the list.
func InheritedChildren() ([]Child, error) {
	var children []Child
	inherited := self().children
	for _, pid := range inherited.Free() {
		children = append(children, Child(inherited.Describe(pid)))
	}
	return children, inherited.Err()
}

// A ChildProcess is a handle on an inherited child, for a program that keeps the children
// of its earlier image. Like [os.Process] it uses a pidfd, if the kernel has pidfds. A
// Reaper does not touch an adopted child.
//
// The methods may be called by several goroutines at once.
type ChildProcess struct{ adopted *reap.Adopted }

// Adopt takes over an inherited child. The caller must call [ChildProcess.Release], or
// call [ChildProcess.Wait] until it returns a ChildExit.
func Adopt(pid int) (*ChildProcess, error) {
	adopted, ok := self().children.Adopt(pid)
	if !ok {
		return nil, ErrNotInherited
	}
	return &ChildProcess{adopted}, nil
}

// PID returns the PID of the child.
func (c *ChildProcess) PID() int { return c.adopted.PID() }

// Signal sends a signal to the child. The signal must be a [syscall.Signal]. Signal
// returns [os.ErrProcessDone] if the child has exited and was waited for, and
// [os.ErrClosed] after Release.
func (c *ChildProcess) Signal(sig os.Signal) error {
	s, ok := sig.(syscall.Signal)
	if !ok {
		return os.NewSyscallError("kill", errors.ErrUnsupported)
	}
	return c.adopted.Signal(s)
}

// Wait waits until the child has exited and returns its exit. Further calls return the
// same exit. If ctx ends first, Wait returns the error of ctx. After Release it returns
// [os.ErrClosed].
func (c *ChildProcess) Wait(ctx context.Context) (ChildExit, error) {
	e, err := c.adopted.Wait(ctx)
	return ChildExit(e), err
}

// Release gives up the handle without waiting. Another Adopt or a Reaper may then take
// the child. A call of Wait that is under way returns.
func (c *ChildProcess) Release() error { return c.adopted.Release() }
