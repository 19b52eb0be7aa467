//go:build !linux || autorestart_portable

package autorestart

// Systems without pidfds and a list of children, as far as they are alike:
// a child is known by its PID, and SIGCHLD says that some child has exited.

// exits never announces anything: every child is asked by its PID.
type exits struct{ ready chan []int }

func newExits() *exits                      { return &exits{} }
func (*exits) watch(*child) bool            { return false }
func (*exits) close()                       {}
func (*child) release()                     {}
func notReused([]int, uint64) []bool        { return nil }
func mayBeReused(uint64) bool               { return false }
func describe(pid int) Child                { return Child{PID: pid} }
func waitChild(c *child, e *Exit) waitState { return waitPID(c.pid, e) }

// identify knows nothing: neither names nor start times can be had in a way that
// these systems share.
func identify(int, uint64) (command string, later bool) { return "", false }

// peekZombie can't look without taking.
func peekZombie() int { return -1 }
