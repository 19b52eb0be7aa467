//go:build !autorestart_portable

// Seccomp filters that end the process.
//
// systemd's SystemCallFilter= does so at each call that it forbids. A process can't find out beforehand
// which calls a filter allows. So an attribute that has its value already is not set. In a process with a
// filter, a child makes the call first, with arguments that change nothing. If the filter ends the child,
// this process leaves the call out. A filter that forbids the call with some arguments only is not found:
// filters of systemd and Docker return an error for these. A filter that also forbids fork(2) or wait4(2)
// ends the process at these calls, and one with a supervisor that does not answer holds the exec up.
//
// isFatal and ForbidsMemfd are for calls that are seldom made: a child costs a copy of the page tables.
//
//	call                       since    without it
//	PR_GET_SECCOMP             2.6.23   there are no filters

package execve

import (
	"syscall"

	"github.com/autorestart-go/autorestart/internal/rawsys"
)

// fatal are the calls at which a filter has ended a child: it never allows them again. The holder of
// executor.mu, the threads that work for it one after the other, and a rollback before main use it.
var fatal []uintptr

// mayBeFiltered reports whether this thread has a seccomp filter, as far as that can be told.
func mayBeFiltered() bool {
	const getSeccomp = 21
	mode, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, getSeccomp, 0, 0)
	return mode != 0 && errno != syscall.EINVAL // which is the answer of a kernel without filters
}

// hasEndedChild reports whether a filter has ended a child at a call.
func hasEndedChild(number uintptr) bool {
	for _, call := range fatal {
		if call == number {
			return true
		}
	}
	return false
}

// isFatal reports whether a filter of this thread ends the process at a call. It is true if no child
// could try it, because processes or memory are short.
func isFatal(number uintptr) bool {
	if hasEndedChild(number) {
		return true
	}
	if !mayBeFiltered() {
		return false
	}
	status, err := try(number)
	if err == nil && status.Signaled() && status.Signal() == syscall.SIGSYS {
		fatal = append(fatal, number)
	}
	return err != nil || !status.Exited()
}

// ForbidsMemfd reports whether a filter of this thread ends the process at memfd_create(2). It is true if no
// child could try the call. Any goroutine may call it.
func ForbidsMemfd() bool {
	if !mayBeFiltered() {
		return false
	}
	status, err := try(rawsys.Numbers.MemfdCreate)
	return err != nil || !status.Exited()
}

// try has a child make the call, and returns how the child has ended. The child sends no SIGCHLD, and
// only __WALL waits for it.
func try(number uintptr) (status syscall.WaitStatus, err error) {
	pid, errno := fork(number)
	if errno != 0 {
		return 0, errno
	}
	const wall = 0x40000000
	for {
		if _, err = syscall.Wait4(pid, &status, wall, nil); err != syscall.EINTR {
			return status, err
		}
	}
}

// fork starts the child and returns its PID. A signal must not find the child: the runtime's
// handlers work on state that belongs to this process. It has a copy of the memory: up to Linux
// 5.15, a core dump ends all processes that share it.
//
//go:norace
//go:nocheckptr
//go:nosplit
func fork(number uintptr) (pid int, errno syscall.Errno) {
	all := rawsys.SignalMask{^uint64(0), ^uint64(0)}
	var signals rawsys.SignalMask
	signals.Change(&all)
	n, _, errno := syscall.RawSyscall6(syscall.SYS_CLONE, 0, 0, 0, 0, 0, 0)
	if n == 0 && errno == 0 {
		child(number)
	}
	all.Change(&signals)
	return int(n), errno
}

// child leaves no core dump behind.
//
//go:norace
//go:nocheckptr
//go:nosplit
func child(number uintptr) {
	const setDumpable, no = 4, ^uintptr(0)
	syscall.RawSyscall6(syscall.SYS_PRCTL, setDumpable, 0, 0, 0, 0, 0)
	syscall.RawSyscall6(number, no, no, no, no, no, no)
	for {
		syscall.RawSyscall6(syscall.SYS_EXIT_GROUP, 0, 0, 0, 0, 0, 0)
	}
}
