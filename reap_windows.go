package autorestart

import (
	"errors"
	"os"
	"syscall"
)

// listInherited: no image can be executed in the place of another here, so none
// leaves children to the next.
func listInherited() *inheritance {
	return &inheritance{err: os.NewSyscallError("wait4", errors.ErrUnsupported)}
}

func waitPID(int, *ChildExit) waitState { return waitNotOurs }
func peekChild(int) waitState           { return waitNotOurs }
func signalChild(*child, syscall.Signal) error {
	return os.NewSyscallError("kill", errors.ErrUnsupported)
}
func mayBeStopped(int) bool        { return false }
func notifyExits(chan<- os.Signal) {}

const sigcont = syscall.Signal(0)
