//go:build !linux || autorestart_portable

package autorestart

import (
	"context"
	"errors"
	"os"
)

// Systems without pidfds and a list of children, as far as they are alike:
// a child is known by its PID, and SIGCHLD says that some child has exited.

// exits never announces anything: every child is asked by its PID.
type exits struct{ ready chan []int }

func newExits() *exits                           { return &exits{} }
func (*exits) watch(*child) bool                 { return false }
func (*exits) close()                            {}
func (*child) release()                          {}
func mayBeReused(uint64) bool                    { return false }
func describe(pid int) Child                     { return Child{PID: pid} }
func waitChild(c *child, e *ChildExit) waitState { return waitPID(c.pid, e) }

// notReused is never asked, because it could not tell.
func notReused(pids []int, _ uint64, _ bool) []bool { return make([]bool, len(pids)) }

const fewLiving = 0

// identify knows nothing: neither names nor start times can be had in a way that
// these systems share.
func identify(int, uint64) (command string, later bool) { return "", false }

// peekZombie can't look without taking.
func peekZombie() int { return -1 }

func earliestThread() (ticks uint64, thread int, ok bool) { return 0, 0, false }

// own knows of none, because start times can't be had in a way that these systems
// share.
func (h *inheritance) own() []int { return nil }

func hold(*child)           {}
func isForeign(*child) bool { return false }

func (o *Orphans) run(context.Context) error {
	return os.NewSyscallError("prctl", errors.ErrUnsupported)
}
