//go:build unix && (!linux || autorestart_portable)

package autorestart

import (
	"errors"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/autorestart-go/autorestart/internal/handover"
)

// maxProbed is the largest PID that children are looked for at: pid_max of
// macOS and the BSDs, and of most other systems unless it was raised.
const maxProbed = 99999

// listInherited finds the children that the image before this one has left, if
// that image was ours and said so: only then are there any, as a rule, and
// there is no cheap way to ask. Without a list, and without a way to look at a
// child that does not take it, the zombies are waited for right here. No child
// of this image can be among them, since it has not started any yet. What they
// exited with is kept for whoever will ask.
func listInherited() *inheritance {
	h := &inheritance{by: "wait4"}
	if handover.Inherited.Number(handover.PID) == 0 {
		return h
	}
	h.done = make(map[int]ChildExit)
	living := h.takeZombies()
	for pid := 1; living && pid <= maxProbed; pid++ {
		var e ChildExit
		switch waitPID(pid, &e) {
		case waitRunning:
			h.free = append(h.free, pid)
		case waitExited: // just now
			h.done[pid] = e
			h.free = append(h.free, pid)
		}
	}
	h.all = slices.Clip(h.free)
	if living && len(h.free) == len(h.done) {
		h.err = os.NewSyscallError("wait4", errors.ErrUnsupported)
	}
	return h
}

// takeZombies waits for every child that has exited, and reports whether there
// are others.
func (h *inheritance) takeZombies() (living bool) {
	for {
		e := ChildExit{}
		pid, state := wait4(-1, &e)
		if state != waitExited {
			return state == waitRunning
		}
		e.PID = pid
		h.done[pid] = e
		h.free = append(h.free, pid)
	}
}

// waitPID asks once whether a child has exited, and fills in e unless it is nil.
func waitPID(pid int, e *ChildExit) waitState {
	if e == nil {
		e = new(ChildExit)
	}
	_, state := wait4(pid, e)
	return state
}

func wait4(pid int, e *ChildExit) (int, waitState) {
	for {
		var status syscall.WaitStatus
		var usage syscall.Rusage
		got, err := syscall.Wait4(pid, &status, wnohang, &usage)
		switch {
		case err == syscall.EINTR:
			continue
		case err != nil:
			return 0, waitNotOurs
		case got <= 0:
			return 0, waitRunning
		}
		e.PID = got
		e.Usage = usage
		e.Code = status.ExitStatus() // -1 if a signal ended it
		if status.Signaled() {
			e.Signal, e.CoreDump = status.Signal(), status.CoreDump()
		}
		return got, waitExited
	}
}

// peekChild can't look without taking: the wait itself will tell.
func peekChild(int) waitState { return waitExited }

// signalChild sends the child a signal. Nobody but us waits for it, so that its
// PID is still its own.
func signalChild(c *child, sig syscall.Signal) error {
	err := syscall.Kill(c.pid, sig)
	if err == syscall.ESRCH {
		return os.ErrProcessDone
	}
	return os.NewSyscallError("kill", err)
}

// mayBeStopped can't tell, so that every child is continued: for one that runs,
// SIGCONT does nothing, unless it has a handler for it.
func mayBeStopped(int) bool { return true }

// notifyExits has c told of every exit of a child.
func notifyExits(c chan<- os.Signal) { signal.Notify(c, syscall.SIGCHLD) }

const sigcont = syscall.SIGCONT
