//go:build linux && !autorestart_portable

package reaper_test

import (
	"context"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"testing"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// The first thread of a process may exit while others live on, as by pthread_exit in main.
// The process is a zombie in /proc then, and can't be waited for: it is a child that lives.

const leaderExits = "leader exits"

func init() {
	if os.Getenv(childEnv) == leaderExits {
		runtime.LockOSThread() // main is on the first thread
	}
	// ends with 7 when it is asked to, and executes itself on SIGUSR1 as one that lives
	children[leaderExits] = func(ready func()) {
		c := make(chan os.Signal, 1)
		signal.Notify(c, syscall.SIGTERM, syscall.SIGUSR1)
		go func() {
			eventually("the first thread exits", func() bool { return stateOf(os.Getpid()) == "Z" })
			ready()
			if <-c == syscall.SIGTERM {
				os.Exit(7)
			}
			os.Setenv(childEnv, "live")
			fail("exec:", syscall.Exec(os.Args[0], os.Args, os.Environ()))
		}()
		syscall.Syscall(syscall.SYS_EXIT, 0, 0, 0)
	}
}

// stateOfThreads returns the states of the threads but the first.
func stateOfThreads(pid int) (states []string) {
	tasks, _ := os.ReadDir("/proc/" + strconv.Itoa(pid) + "/task")
	for _, task := range tasks {
		if tid, _ := strconv.Atoi(task.Name()); tid != pid {
			states = append(states, stateOf(tid))
		}
	}
	return states
}

var _ = registerScenario("leader exits", func() {
	needSubreaper()
	if !seesOwnProcesses() {
		skip("needs /proc to see a first thread that has exited")
	}
	for _, key := range []string{"reaped", "stopped", "adopted", "orphaned"} {
		noteChild(key, leaderExits)
	}
	check(syscall.Kill(notedPID("stopped"), syscall.SIGSTOP) == nil, "stop")
	eventually("the other threads stop", func() bool {
		states := stateOfThreads(notedPID("stopped"))
		return len(states) > 0 && !slices.ContainsFunc(states, func(s string) bool { return s != "T" })
	})
}, func() {
	pid := notedPID("adopted")
	adopted, err := autorestart.Adopt(pid)
	check(err == nil, err)
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	e, err := adopted.Wait(ended)
	check(err == context.Canceled, "the adopted child has not exited:", e, err)

	var log, orphans exitLog
	r := autorestart.Reaper{
		Escalation: []autorestart.EscalationStep{{Signal: syscall.SIGTERM}},
		Reaped:     log.add,
		Skip:       func(c autorestart.Child) bool { return c.PID == notedPID("orphaned") },
	}
	ctx, stop := testprocess.WithTimeout(context.Background(), testprocess.Timeout)
	defer stop()
	err = r.Run(ctx)
	check(err == nil && log.len() == 2, err, log.exits)
	e = log.of("reaped")
	check(e.Code == 7 && e.Sent[0] == syscall.SIGTERM, e, e.Sent)
	e = log.of("stopped")
	check(e.Code == 7 && slices.Equal(e.Sent, []syscall.Signal{syscall.SIGTERM, syscall.SIGCONT}), e, e.Sent)

	end := startOrphans(&autorestart.Orphans{Subreaper: true, Reaped: orphans.add, Undecided: func(autorestart.Child) {}})
	eventually("subreaper", getsOrphans)
	runParent()
	eventually("orphans are looked after", func() bool { return orphans.len() > 0 || !startedByPidfd() })
	check(isRunning(notedPID("orphaned")), "the orphan has not exited")
	check(syscall.Kill(notedPID("orphaned"), syscall.SIGTERM) == nil, "kill")
	eventually("it is reaped", func() bool { return gone(notedPID("orphaned")) })
	end()
	check(orphans.of("orphaned").Code == 7, orphans.exits)

	// A thread that executes another program takes the PID of the first.
	done := make(chan autorestart.ChildExit)
	go func() {
		e, err := adopted.Wait(context.Background())
		check(err == nil, err)
		done <- e
	}()
	check(adopted.Signal(syscall.SIGUSR1) == nil, "Signal")
	eventually("it executes a program", func() bool { return stateOf(pid) != "Z" })
	check(isRunning(pid), "the adopted child has not exited")
	check(adopted.Signal(syscall.SIGKILL) == nil, "Signal")
	e = <-done
	check(e.Signal == syscall.SIGKILL && !e.Lost, e)
	endChildren()
})

func TestLeaderExits(t *testing.T) { runScenarioWithAndWithoutPidfds(t, "leader exits") }
