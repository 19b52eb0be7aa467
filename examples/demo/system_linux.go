package main

import (
	"os"
	"os/exec"
	"syscall"
)

// checkSystem returns nil where the demo can run.
func checkSystem() error { return nil }

// setApart gives a command a process group of its own, so that a Ctrl-C in the
// terminal reaches the demo alone, which then ends the command in its own time.
// Should the demo be killed, the kernel ends the command: more precisely, when
// the thread ends that has started it.
func setApart(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// interruptGroup interrupts a command that was set apart, and what it has started.
func interruptGroup(cmd *exec.Cmd) error {
	if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGINT); err != syscall.ESRCH {
		return os.NewSyscallError("kill", err)
	}
	return os.ErrProcessDone
}
