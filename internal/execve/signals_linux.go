//go:build !autorestart_portable

// Signals and timers in an exec.
//
// An exec gives each signal that has a handler its default action, which ends the process or
// stops it. The runtime of the next image installs its handlers a moment later. What is
// pending, and the timers of setitimer(2), cross the exec and can end the process until then.
// So for the moment of the exec signals are ignored. The runtime replaces that by its
// handlers, but for the signals of the second row, and children don't inherit it.
//
//	signal or timer                    in the exec                the next image
//	SIGUSR1, SIGUSR2, SIGPIPE,         ignored                    has the runtime's handler, which
//	SIGALRM, SIGXCPU, SIGXFSZ,                                    drops them
//	SIGVTALRM, SIGPROF, SIGIO,
//	SIGPWR, 35 and above
//	SIGHUP, SIGTSTP, SIGTTIN, SIGTTOU, ignored if passed to       ignores them until it subscribes,
//	SIGTRAP, SIGSYS, SIGSTKFLT         Notify; else untouched     or gets the default action when it
//	                                                              is ready
//	ignored when the process was       ignored                    ignores them until it subscribes
//	started, as SIGHUP by nohup(1)
//	SIGTERM, SIGINT, SIGQUIT,          untouched: they end the    is ended by them, too
//	SIGABRT                            process
//	SIGSEGV, SIGBUS, SIGFPE, SIGILL    untouched: a fault in      the same
//	                                   another goroutine panics
//	32, 33, 34                         untouched: a C library     the same
//	                                   waits for their handlers
//	SIGCHLD                            untouched: exits would     finds it pending
//	                                   be thrown away
//	SIGURG, SIGWINCH, SIGCONT          untouched: their default   finds them pending
//	                                   action does no harm
//	ITIMER_PROF, of a CPU profile      stopped; goes on if the    has none
//	                                   exec fails
//	ITIMER_REAL, ITIMER_VIRTUAL        untouched                  has them, see setitimer(2)
//	timer_create(2)                    ended by the kernel,       has none
//	                                   with its signals
//	signal mask of the thread          that of the start          has it
//
// A version without this library finds no signal ignored but those of the third row, and no
// SIGPROF pending. In a version with C threads of its own, a signal of the first row that
// one of these gets does nothing, whereas it ends the first image of a process: the runtime has
// found it ignored.

package execve

import (
	"runtime"
	"syscall"

	"github.com/autorestart-go/autorestart/internal/rawsys"
)

// isCaught reports whether a signal is one that the runtime catches and drops in a program that
// has not subscribed to it: sigtable in runtime/sigtab_linux_generic.go.
func isCaught(sig int) bool {
	switch syscall.Signal(sig) {
	case syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGPIPE, syscall.SIGALRM, syscall.SIGXCPU, syscall.SIGXFSZ,
		syscall.SIGVTALRM, syscall.SIGPROF, syscall.SIGIO, syscall.SIGPWR:
		return true
	}
	return sig >= firstRealtime
}

// firstRealtime is the first signal that no C library has for itself. Theirs begin at
// firstOfLibrary.
const firstOfLibrary, firstRealtime = 32, 35

// lastSignal is the last one that there is.
var lastSignal = 8 * int(rawsys.SigsetSize)

// launchMask is the signal mask that this image was started with.
var launchMask = func() (mask rawsys.SignalMask) {
	mask.Change(nil) // package initialisation runs on the first thread
	return mask
}()

// ignoredAtStart are the signals that were ignored when this process was started, before any
// image of it could change that. This image finds them, or is told by the previous one.
var ignoredAtStart = ignoredSignals()

// ignoresInExec reports whether a signal is ignored in an exec with k, or without if that is
// nil.
func (k *Kept) ignoresInExec(sig int) bool {
	switch syscall.Signal(sig) {
	case syscall.SIGCHLD, syscall.SIGSEGV, syscall.SIGBUS, syscall.SIGFPE, syscall.SIGILL:
		return false
	}
	switch {
	case sig >= firstOfLibrary && sig < firstRealtime:
		return false
	case contains(ignoredAtStart, sig):
		return true
	}
	return k != nil && (isCaught(sig) || contains(k.Subscribed, sig))
}

// prepareSignals prepares signals and timers for an exec with k, or without if that is nil,
// until restore is called, because the exec has failed.
func (k *Kept) prepareSignals() (restore func()) {
	runtime.LockOSThread()
	var before rawsys.SignalMask
	before.Change(&launchMask)
	profile, stopped := stopProfile()
	var ignored []ignoredSignal
	for sig := 1; sig <= lastSignal; sig++ {
		// The signal of a timer that goes on must not end the next image.
		if k.ignoresInExec(sig) || sig == int(syscall.SIGPROF) && !stopped {
			ignored = append(ignored, ignore(sig))
		}
	}
	return func() {
		for i := range ignored {
			ignored[i].restore()
		}
		profile.restart()
		new(rawsys.SignalMask).Change(&before) // on this thread still
		runtime.UnlockOSThread()
	}
}

// ignoredSignals returns which signals are ignored. In a Go program the runtime has installed
// its handlers by now, but for a few.
func ignoredSignals() (signals []int) {
	var action sigaction
	rtSigaction(int(syscall.SIGUSR1), nil, &action)
	if *action.handler() > sigIgnore {
		for _, sig := range notInstalled {
			if isIgnored(int(sig)) {
				signals = append(signals, int(sig))
			}
		}
		return signals
	}
	for sig := 1; sig <= lastSignal; sig++ { // in a C program with a Go library
		if isIgnored(sig) {
			signals = append(signals, sig)
		}
	}
	return signals
}

// notInstalled are the signals that may be ignored in a Go program: the runtime leaves the first
// two as they are if they are ignored, and the others in any case.
var notInstalled = [...]syscall.Signal{
	syscall.SIGHUP, syscall.SIGINT, syscall.SIGTSTP, syscall.SIGTTIN, syscall.SIGTTOU, syscall.SIGCONT,
}

// endWindow takes from k what was ignored at the start, and gives what else the exec with k has
// ignored its default action. In a Go program nothing is left of that: the runtime has
// installed its handlers. In a C program with a Go library it does not.
func (k *Kept) endWindow() {
	ignored := ignoredAtStart
	ignoredAtStart = k.Ignored
	for _, sig := range ignored {
		if isCaught(sig) && !contains(k.Subscribed, sig) {
			StopIgnoring(sig)
		}
	}
}

// StopIgnoring gives a signal that is ignored its default action, unless it was ignored when
// the process was started.
func StopIgnoring(sig int) {
	if isIgnored(sig) && !contains(ignoredAtStart, sig) {
		replaceIgnoring(sig, new(sigaction))
	}
}

func contains(signals []int, sig int) bool {
	for _, s := range signals {
		if s == sig {
			return true
		}
	}
	return false
}
