//go:build !autorestart_portable

package execve

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/pprof"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/forcefallback"
	"github.com/autorestart-go/autorestart/internal/rawsys"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// signalState is what an exec changes of signals and timers.
type signalState struct {
	actions [129]sigaction
	mask    rawsys.SignalMask
	profile bool
}

func currentSignalState() (s signalState) {
	for sig := range s.actions {
		rtSigaction(sig, nil, &s.actions[sig])
	}
	s.mask.Change(nil)
	timer, _ := unix.Getitimer(unix.ITIMER_PROF)
	s.profile = timer.Value != unix.Timeval{}
	return s
}

// TestFailedExecLeavesSignals: they are as they were, and a profile of the CPU goes on.
func TestFailedExecLeavesSignals(t *testing.T) {
	if err := pprof.StartCPUProfile(io.Discard); err != nil {
		t.Fatal(err)
	}
	defer pprof.StopCPUProfile()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var set, mask unix.Sigset_t
	set.Val[0] = 1 << (unix.SIGUSR2 - 1)
	unix.PthreadSigmask(unix.SIG_BLOCK, &set, &mask)
	defer unix.PthreadSigmask(unix.SIG_SETMASK, &mask, nil)
	before := currentSignalState()
	if !before.profile || before.mask == launchMask {
		t.Fatalf("profile: %t, signals blocked: %#x", before.profile, before.mask)
	}
	for _, k := range []*Kept{Keep([]int{1, 10, 10, int(syscall.SIGKILL), 4711}), nil} {
		if err := Execute("/nonexistent", os.Args, os.Environ(), k, func() {}); err != syscall.ENOENT {
			t.Error(err)
		}
		if after := currentSignalState(); after != before {
			t.Errorf("an exec that failed has left\n%+v\nbefore it was\n%+v", after, before)
		}
	}
}

// TestSubscriptionDuringFailedExec: what package os/signal has changed meanwhile stays.
func TestSubscriptionDuringFailedExec(t *testing.T) {
	signal.Ignore(syscall.SIGUSR1)
	ignored := ignore(int(syscall.SIGUSR1))
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGUSR1)
	defer signal.Stop(c)
	ignored.restore()
	if isIgnored(int(syscall.SIGUSR1)) {
		t.Error("the signal is ignored in spite of the subscription")
	}
}

// TestSubscriptionWhileIgnoringStops: package os/signal may install its handler at any moment.
func TestSubscriptionWhileIgnoringStops(t *testing.T) {
	const sig = syscall.SIGUSR2
	c := make(chan os.Signal, 1)
	defer signal.Reset(sig)
	rounds := 30_000 // that many are enough, mostly
	if testing.Short() {
		rounds = 1000
	}
	for range rounds {
		signal.Ignore(sig)
		begin, subscribed := make(chan bool), make(chan bool)
		go func() {
			<-begin
			signal.Notify(c, sig)
			close(subscribed)
		}()
		close(begin)
		StopIgnoring(int(sig))
		<-subscribed
		var now sigaction
		if rtSigaction(int(sig), nil, &now); *now.handler() <= sigIgnore {
			t.Fatal("the signal has its default action in spite of the subscription")
		}
	}
}

// timerCalls are those of @timer in systemd.exec(5) that set timers of a process.
var timerCalls = []uint32{unix.SYS_SETITIMER, unix.SYS_GETITIMER, unix.SYS_TIMER_CREATE, unix.SYS_TIMER_SETTIME}

// The helper profiles the CPU when it executes its next image, to which it hands nothing over.
var _ = testprocess.RegisterHelper("profile", func() {
	if os.Getenv("SECOND") != "" {
		timer, err := unix.Getitimer(unix.ITIMER_PROF)
		fmt.Print(timer.Value, err, isIgnored(int(syscall.SIGHUP)))
		return
	}
	fmt.Print(hideProc(), schedulingFilters[os.Getenv("FILTER")](), pprof.StartCPUProfile(io.Discard))
	fmt.Print(Execute(os.Args[0], os.Args, append(os.Environ(), "SECOND=yes"), nil, func() {}))
})

// hideProc hides /proc, which lists timers, if a test asks for that.
func hideProc() error {
	if os.Getenv("NOPROC") == "" {
		return nil
	}
	return forcefallback.NoProc()
}

// TestProfileEndsWithForeignVersion: also a version without this library, in whose program a
// SIGPROF may have its default action for ever, gets no timer.
func TestProfileEndsWithForeignVersion(t *testing.T) {
	env := testprocess.UseHelper(t, "profile")
	withoutProc(t, func(t *testing.T) {
		for _, filter := range []string{"none", "harmless"} {
			t.Setenv("FILTER", filter)
			const begin, end = "<nil> <nil> <nil>", "{0 0} <nil> false" // the race detector may write between
			if output := runHelper(t, env); !strings.HasPrefix(output, begin) || !strings.HasSuffix(output, end) {
				t.Errorf("filter %s: %q, want %q", filter, output, begin+end)
			}
		}
	})
}

// The helper has the timer of a profiler that is written in C when it executes a program.
var _ = testprocess.RegisterHelper("profile of C", func() {
	every := unix.Timeval{Sec: 100}
	_, err := unix.Setitimer(unix.ITIMER_PROF, unix.Itimerval{Interval: every, Value: every})
	if err = errors.Join(err, schedulingFilters[os.Getenv("FILTER")]()); err == nil {
		err = Execute("/bin/cat", []string{"cat", "/proc/self/status"}, os.Environ(), nil, func() {})
	}
	fmt.Print(err)
})

// TestProfileOfCUnderFilter: no part of /proc shows a timer of setitimer(2). Under a filter it goes on, and the
// next image ignores its signal until it has a handler.
func TestProfileOfCUnderFilter(t *testing.T) {
	env := testprocess.UseHelper(t, "profile of C")
	for filter, ignores := range map[string]bool{"none": false, "harmless": true} {
		t.Setenv("FILTER", filter)
		output := runHelper(t, env)
		_, mask, _ := strings.Cut(output, "SigIgn:\t")
		mask, _, _ = strings.Cut(mask, "\n")
		ignored, err := strconv.ParseUint(mask, 16, 64)
		if got := ignored>>(syscall.SIGPROF-1)&1 == 1; err != nil || got != ignores {
			t.Errorf("filter %s: SIGPROF is ignored: %t, %v; want %t: %s", filter, got, err, ignores, output)
		}
	}
}

// withoutProc runs a test with /proc, and without.
func withoutProc(t *testing.T, test func(t *testing.T)) {
	t.Run("timers in proc", test)
	t.Run("no proc", func(t *testing.T) {
		if os.Geteuid() != 0 {
			t.Skip("needs root for a mount namespace")
		}
		t.Setenv("NOPROC", "yes")
		test(t)
	})
}

var _ = testprocess.RegisterHelper("filter of timers", func() {
	err := errors.Join(hideProc(), forcefallback.KillAll(timerCalls...))
	fmt.Print(err, " ", Execute("/nonexistent", os.Args, os.Environ(), nil, func() {}))
})

// A filter that ends the process at the calls that set timers ends no process that restarts: no
// profile runs under it.
func TestExecUnderFilterOfTimers(t *testing.T) {
	env := testprocess.UseHelper(t, "filter of timers")
	withoutProc(t, func(t *testing.T) {
		if output, want := runHelper(t, env), "<nil> no such file or directory"; !strings.HasSuffix(output, want) {
			t.Errorf("%q, want %q", output, want)
		}
	})
}
