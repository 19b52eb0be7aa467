//go:build linux

package program

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/pprof"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart"
)

// intervalTimers are the timers of setitimer(2), by name.
var intervalTimers = [...]struct {
	name  string
	which unix.ItimerWhich
}{{"real", unix.ITIMER_REAL}, {"virtual", unix.ITIMER_VIRTUAL}, {"prof", unix.ITIMER_PROF}}

// subscriptions are the channels that were passed to Notify and not to StopNotify.
var subscriptions []chan os.Signal

func subscribe(signals ...os.Signal) {
	c := make(chan os.Signal, 1)
	subscriptions = append(subscriptions, c)
	autorestart.Notify(c, signals...)
}

// signals are the commands about signals and timers.
var signals = map[string]func(argument string) string{
	// subscribe N subscribes to the signal N, subscribe to all.
	"subscribe": func(argument string) string {
		if argument == "" {
			subscribe()
			return ""
		}
		n, err := strconv.Atoi(argument)
		if err == nil {
			subscribe(syscall.Signal(n), syscall.SIGTERM)
		}
		return fmt.Sprint(err)
	},
	// unsubscribe undoes the last subscription.
	"unsubscribe": func(string) string {
		last := len(subscriptions) - 1
		autorestart.StopNotify(subscriptions[last])
		subscriptions = subscriptions[:last]
		return ""
	},
	"ignore-hangup": func(string) string { signal.Ignore(syscall.SIGHUP); return "" },
	// ignored returns which signals are ignored, as a mask.
	"ignored": func(string) string {
		status, err := os.ReadFile("/proc/self/status")
		_, mask, _ := strings.Cut(string(status), "SigIgn:")
		mask, _, _ = strings.Cut(mask, "\n")
		return fmt.Sprint(strings.TrimSpace(mask), err)
	},
	"profile": func(string) string { return fmt.Sprint(pprof.StartCPUProfile(io.Discard)) },
	// timers returns the interval timers that run, and "posix" if one of timer_create(2) does.
	"timers": func(string) string {
		var running []string
		for _, timer := range intervalTimers {
			if now, err := unix.Getitimer(timer.which); err != nil || now.Value != (unix.Timeval{}) {
				running = append(running, timer.name)
			}
		}
		if posix, _ := os.ReadFile("/proc/self/timers"); len(posix) > 0 {
			running = append(running, "posix")
		}
		return strings.Join(running, " ")
	},
	// start-timers starts all interval timers, and one of timer_create(2).
	"start-timers": func(string) string {
		for _, timer := range intervalTimers {
			hour := unix.Timeval{Sec: 3600}
			if _, err := unix.Setitimer(timer.which, unix.Itimerval{Value: hour, Interval: hour}); err != nil {
				return err.Error()
			}
		}
		var id int32
		_, _, errno := unix.Syscall(unix.SYS_TIMER_CREATE, unix.CLOCK_MONOTONIC, 0, uintptr(unsafe.Pointer(&id)))
		if errno != 0 {
			return errno.Error()
		}
		return ""
	},
	// restart-blocking N restarts from a thread that blocks the signal N.
	"restart-blocking": func(argument string) string {
		n, err := strconv.Atoi(argument)
		if err != nil {
			return err.Error()
		}
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		var set, before unix.Sigset_t
		set.Val[0] = 1 << (n - 1)
		unix.PthreadSigmask(unix.SIG_BLOCK, &set, &before)
		defer unix.PthreadSigmask(unix.SIG_SETMASK, &before, nil)
		return new(autorestart.Restarter).Restart(context.Background()).Error()
	},
}
