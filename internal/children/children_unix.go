//go:build unix

// Package children is the table of children of a Unix system that has no pidfds. The library uses it on
// systems other than Linux.
package children

import (
	"errors"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/reap"
	"github.com/autorestart-go/autorestart/internal/sys"
)

// A Table is a [reap.Table] of a system without pidfds, and without a
// list of children or a look at one that is the same on all systems. A child is known
// by its PID, and SIGCHLD says that some child has exited.
type Table struct{ reap.Unsupported }

// Wait wraps wait4(2) with WNOHANG.
func (*Table) Wait(pid int, e *reap.Exit) (reap.State, error) {
	if e == nil {
		e = new(reap.Exit)
	}
	return wait4(pid, e)
}

// WaitAny wraps wait4(2) for any child, with WNOHANG.
func (*Table) WaitAny(e *reap.Exit) (reap.State, error) { return wait4(-1, e) }

func wait4(pid int, e *reap.Exit) (reap.State, error) {
	var status syscall.WaitStatus
	var usage syscall.Rusage
	got, err := sys.IgnoringEINTR(func() (int, error) { return syscall.Wait4(pid, &status, wnohang(), &usage) })
	switch {
	case errors.Is(err, syscall.ECHILD):
		return reap.NotOurs, nil
	case err != nil:
		return reap.NotOurs, os.NewSyscallError("wait4", err)
	case got <= 0:
		return reap.Running, nil
	}
	e.PID = got
	e.Usage = usage
	e.Code = status.ExitStatus() // -1 if a signal ended it
	if status.Signaled() {
		e.Signal, e.CoreDump = status.Signal(), status.CoreDump()
	}
	return reap.Exited, nil
}

// wnohang returns WNOHANG of sys/wait.h, which golang.org/x/sys/unix has for every
// system but AIX.
func wnohang() int {
	if runtime.GOOS == "solaris" || runtime.GOOS == "illumos" {
		return 0x40
	}
	return 1
}

// Kill wraps kill(2).
func (*Table) Kill(pid int, sig syscall.Signal) error {
	err := unix.Kill(pid, sig)
	if err == syscall.ESRCH {
		return os.ErrProcessDone
	}
	return os.NewSyscallError("kill", err)
}

func (*Table) ContinueSignal() syscall.Signal { return syscall.SIGCONT }

// NotifyExits has SIGCHLD sent to a channel.
func (*Table) NotifyExits() (exits <-chan os.Signal, stop func()) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGCHLD)
	return c, func() { signal.Stop(c) }
}
