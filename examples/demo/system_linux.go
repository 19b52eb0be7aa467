package main

import (
	"context"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// checkSystem returns an error if the demo does not run on this system.
func checkSystem() error { return nil }

// setApart gives a command a process group of its own, so that Ctrl-C in the terminal
// reaches only the demo, which then stops the command. The kernel kills the command when
// the thread that has started it ends, so also when the demo is killed.
func setApart(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// interruptGroup interrupts a command that was set apart, and the processes that it has
// started.
func interruptGroup(cmd *exec.Cmd) error {
	if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGINT); err != syscall.ESRCH {
		return os.NewSyscallError("kill", err)
	}
	return os.ErrProcessDone
}

// awaitEnd waits until a process has ended that is no child of the demo.
func awaitEnd(ctx context.Context, pid int) error {
	for syscall.Kill(pid, 0) != syscall.ESRCH {
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}
