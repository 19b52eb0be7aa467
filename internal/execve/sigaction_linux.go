//go:build !autorestart_portable

// Actions of signals, interval timers.
//
//	call                  since    without it
//	rt_sigaction(2)       2.2      -
//	setitimer(2)          ever     -
//	/proc/self/timers     3.10     under a seccomp filter, a child tries setitimer

package execve

import (
	"syscall"
	"unsafe"

	"github.com/autorestart-go/autorestart/internal/rawsys"
)

// sigaction is the kernel's struct of that name, for Go's purposes: the handler is
// its first word, on MIPS its second. All zero is the default action. Package
// os/signal can't put back what was there before, and an exec may fail.
type sigaction [8]uintptr

const sigIgnore = 1

func (a *sigaction) handler() *uintptr {
	if rawsys.MIPS {
		return &a[1]
	}
	return &a[0]
}

func rtSigaction(sig int, action, old *sigaction) error {
	_, _, errno := syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(sig),
		uintptr(unsafe.Pointer(action)), uintptr(unsafe.Pointer(old)), rawsys.SigsetSize, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// isIgnored reports whether a signal is ignored.
func isIgnored(sig int) bool {
	var action sigaction
	return rtSigaction(sig, nil, &action) == nil && *action.handler() == sigIgnore
}

// An ignoredSignal is ignored until restore is called.
type ignoredSignal struct {
	sig    int
	before sigaction
	err    error // SIGKILL and SIGSTOP can't be ignored
}

// ignore ignores a signal. What is pending of it is dropped.
func ignore(sig int) (s ignoredSignal) {
	var action sigaction
	*action.handler() = sigIgnore
	s.sig, s.err = sig, rtSigaction(sig, &action, &s.before)
	return s
}

func (s *ignoredSignal) restore() {
	if s.err == nil {
		replaceIgnoring(s.sig, &s.before)
	}
}

// replaceIgnoring gives a signal that is ignored another action. Where the program has
// subscribed to it meanwhile, its handler stays.
func replaceIgnoring(sig int, action *sigaction) {
	var now sigaction
	if rtSigaction(sig, action, &now) == nil && *now.handler() != sigIgnore {
		rtSigaction(sig, &now, nil)
	}
}

// A profileTimer is the interval timer of a CPU profile, as it was when it was stopped; zero if
// there was none.
type profileTimer [2]syscall.Timeval

// stopProfile stops the timer, and drops its pending signal. A program that profiles nothing would
// be interrupted by it for ever. It returns false if the timer may go on.
func stopProfile() (before profileTimer, stopped bool) {
	if !mayProfile() {
		return before, false
	}
	new(profileTimer).set(&before)
	pending := ignore(int(syscall.SIGPROF))
	pending.restore()
	return before, true
}

// restart starts a timer that was stopped.
func (t *profileTimer) restart() {
	if t[1] != (syscall.Timeval{}) {
		t.set(nil)
	}
}

func (t *profileTimer) set(old *profileTimer) {
	const itimerProf = 2
	syscall.RawSyscall(syscall.SYS_SETITIMER, itimerProf, uintptr(unsafe.Pointer(t)), uintptr(unsafe.Pointer(old)))
}

// mayProfile reports whether a profile of the CPU may run. A seccomp filter may end the process at
// setitimer(2): systemd's SystemCallFilter=~@timer does. A CPU profile of Go also makes a timer for each thread, by
// timer_create(2). /proc/self/timers lists these, and not the timer of a profiler that is written in C.
func mayProfile() bool {
	if !mayBeFiltered() {
		return true
	}
	fd := open("/proc/self/timers")
	if fd < 0 {
		return !isFatal(syscall.SYS_SETITIMER)
	}
	var b [1]byte
	n, _ := syscall.Read(fd, b[:])
	syscall.Close(fd)
	return n > 0
}
