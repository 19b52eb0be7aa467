//go:build unix

package autorestart

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// quick is a schedule for tests: it ends a child that ignores everything, too.
func quick() []EscalationStep {
	return []EscalationStep{
		{syscall.SIGHUP, 10 * time.Millisecond},
		{syscall.SIGTERM, time.Second},
		{syscall.SIGKILL, time.Second},
	}
}

// exitLog collects the reports of a Reaper by PID.
type exitLog struct {
	mu    sync.Mutex
	exits map[int]ChildExit
}

func (l *exitLog) add(e ChildExit) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.exits == nil {
		l.exits = make(map[int]ChildExit)
	}
	check(l.exits[e.PID].PID == 0, "reported twice:", e)
	l.exits[e.PID] = e
}

func (l *exitLog) of(key string) ChildExit {
	l.mu.Lock()
	defer l.mu.Unlock()
	e, ok := l.exits[notedPID(key)]
	check(ok, "never reported:", key, notedPID(key))
	return e
}

func (l *exitLog) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.exits)
}

func noteChild(key, kind string) { note(key, strconv.Itoa(startChild(kind))) }

// noteZombie starts a child that exits with 3, and where that can be seen waits
// until it has.
func noteZombie(key string) {
	pid := startChild("exit 3")
	note(key, strconv.Itoa(pid))
	eventually("a zombie", func() bool { return peekChild(pid) == waitExited })
}

// holdings is what must be the same before and after.
type holdings struct{ goroutines, descriptors int }

func held() holdings {
	return holdings{runtime.NumGoroutine(), countDescriptors()}
}

// countDescriptors works without /proc.
func countDescriptors() int {
	n := 0
	for fd := range 1024 {
		var st syscall.Stat_t
		if syscall.Fstat(fd, &st) == nil {
			n++
		}
	}
	return n
}

func (h holdings) check() {
	eventually("as many goroutines and descriptors as before", func() bool {
		now := held()
		return now.goroutines <= h.goroutines && now.descriptors <= h.descriptors
	})
}

// warmUp has the runtime make what it keeps from the first use on: the goroutine
// of os/signal, the descriptors of its poller.
func warmUp() {
	c := make(chan os.Signal, 1)
	notifyExits(c)
	signal.Stop(c)
	r, w, err := os.Pipe()
	check(err == nil, err)
	r.Close()
	w.Close()
}

var _ = registerScenario("reap everything", func() {
	noteZombie("zombie")
	noteChild("live", "live")
	noteChild("polite", "polite")
	noteChild("ignore", "ignore")
}, func() {
	warmUp()
	before := startOwn("live")
	start := held()

	var log exitLog
	r := Reaper{Escalation: quick(), Reaped: log.add}
	check(r.Run(context.Background()) == nil, "Run failed")
	start.check()
	after := startOwn("exit 3")

	check(log.len() == 4, "reports:", log.exits)
	zombie := log.of("zombie")
	check(zombie.Code == 3 && zombie.Signal == 0 && !zombie.Lost, zombie)
	check(len(zombie.Sent) == 0 || !canPeek, "a zombie was sent", zombie.Sent)
	live := log.of("live")
	check(live.Code == -1 && live.Signal == syscall.SIGHUP, live)
	check(len(live.Sent) > 0 && live.Sent[0] == syscall.SIGHUP, live.Sent)
	polite := log.of("polite")
	check(polite.Code == 7 && polite.Signal == 0, polite)
	ignore := log.of("ignore")
	check(ignore.Signal == syscall.SIGKILL, ignore)
	sent := slices.DeleteFunc(slices.Clone(ignore.Sent), func(s syscall.Signal) bool { return s == syscall.SIGCONT })
	check(slices.Equal(sent, []syscall.Signal{syscall.SIGHUP, syscall.SIGTERM, syscall.SIGKILL}), ignore.Sent)
	check(ignore.Usage.Utime.Nano()+ignore.Usage.Stime.Nano() > 0, "no usage")
	for _, key := range []string{"zombie", "live", "polite", "ignore"} {
		check(gone(notedPID(key)), key, "is still there")
	}

	// Our own are not touched.
	check(before.Process.Signal(syscall.Signal(0)) == nil, "the child started before is gone")
	check(before.Process.Kill() == nil, "kill")
	var exit *exec.ExitError
	check(errors.As(before.Wait(), &exit), "Wait of the child started before")
	check(errors.As(after.Wait(), &exit) && exit.ExitCode() == 3, "Wait of the child started after")

	// Once more there is nothing to do.
	check(r.Run(context.Background()) == nil && log.len() == 4, "second Run")
})

func TestReapEverything(t *testing.T) { runScenario(t, "reap everything") }

var _ = registerScenario("clean up", func() {
	noteZombie("zombie")
	noteChild("live", "live")
}, func() {
	own := startOwn("exit 3")
	if os.Getenv("QUIET") != "" {
		CleanUpChildZombiesQuietly()
		CleanUpChildZombiesQuietly()
	} else {
		CleanUpChildZombies()
		CleanUpChildZombies()
	}
	eventually("the zombie goes", func() bool { return gone(notedPID("zombie")) })
	live := notedPID("live")
	check(syscall.Kill(live, 0) == nil, "a living child was signalled before its time")
	syscall.Kill(live, syscall.SIGKILL)
	eventually("the living child goes when it ends", func() bool { return gone(live) })
	err := own.Wait()
	check(own.ProcessState.ExitCode() == 3, "own child:", err)
})

func TestCleanUp(t *testing.T) { runScenario(t, "clean up") }

func TestCleanUpLogs(t *testing.T) {
	for rung := range rungs {
		t.Run("rung="+rung, func(t *testing.T) {
			noisy, err := scenarioOutput(t, "clean up", rung)
			if err == nil && strings.HasPrefix(string(noisy), "skip: ") {
				t.Skip(string(noisy))
			}
			quiet, err2 := scenarioOutput(t, "clean up", rung, "QUIET=1")
			if err != nil || err2 != nil {
				t.Fatal(err, err2)
			}
			if strings.Contains(string(quiet), "autorestart") { // the race detector may have its say
				t.Errorf("not quiet: %s", quiet)
			}
			if !strings.Contains(string(noisy), `[autorestart] child reaped pid=`) ||
				!strings.Contains(string(noisy), `status="exit status 3"`) {
				t.Errorf("log: %s", noisy)
			}
		})
	}
}

var _ = registerScenario("spare", func() {
	noteChild("spared", "live")
	noteChild("other", "live")
}, func() {
	var log exitLog
	r := Reaper{Escalation: quick(), Reaped: log.add, Skip: func(c Child) bool { return c.PID == notedPID("spared") }}
	check(r.Run(context.Background()) == nil, "Run failed")
	check(log.len() == 1 && log.of("other").Signal != 0, "reports:", log.exits)
	check(syscall.Kill(notedPID("spared"), 0) == nil, "the spared child is gone")

	// The next one may take it.
	r.Skip = nil
	check(r.Run(context.Background()) == nil, "second Run failed")
	check(log.len() == 2 && log.of("spared").Signal != 0, "reports:", log.exits)
})

func TestSpare(t *testing.T) { runScenario(t, "spare") }

var _ = registerScenario("context", func() {
	noteChild("live", "live")
	noteChild("polite", "polite")
}, func() {
	warmUp()
	start := held()
	ctx, cancel := context.WithCancel(context.Background())
	var log exitLog
	r := Reaper{Escalation: []EscalationStep{}, Reaped: func(e ChildExit) { log.add(e); cancel() }}
	done := make(chan error)
	go func() { done <- r.Run(ctx) }()
	check(syscall.Kill(notedPID("polite"), syscall.SIGTERM) == nil, "kill")
	err := <-done
	check(errors.Is(err, context.Canceled), "Run:", err)
	start.check()
	check(log.of("polite").Code == 7 && log.len() == 1, log.exits)
	check(len(log.of("polite").Sent) == 0, "a signal was sent, but none was asked for")

	// No signal is sent for a context that has ended, even if one is due.
	for range 50 {
		due := Reaper{Escalation: []EscalationStep{{syscall.SIGHUP, 0}}, Reaped: log.add}
		check(errors.Is(due.Run(ctx), context.Canceled), "Run without a context")
	}
	check(log.len() == 1, log.exits)

	// What was left is there for the next.
	r = Reaper{Escalation: quick(), Reaped: log.add}
	check(r.Run(context.Background()) == nil, "second Run")
	check(log.of("live").Signal == syscall.SIGHUP, log.exits)
	start.check()
})

func TestContext(t *testing.T) { runScenario(t, "context") }

var _ = registerScenario("slow receiver", func() {
	for i := range 20 {
		noteChild("child"+strconv.Itoa(i), "polite")
	}
}, func() {
	release := make(chan struct{})
	var log exitLog
	r := Reaper{Escalation: quick(), Reaped: func(e ChildExit) { <-release; log.add(e) }}
	done := make(chan error)
	go func() { done <- r.Run(context.Background()) }()
	for i := range 20 {
		pid := notedPID("child" + strconv.Itoa(i))
		eventually("reaped, whoever listens", func() bool { return gone(pid) })
	}
	close(release)
	check(<-done == nil, "Run failed")
	check(log.len() == 20, "reports:", log.len())
})

func TestSlowReceiver(t *testing.T) { runScenario(t, "slow receiver") }

var _ = registerScenario("lost", func() {
	noteChild("live", "live")
}, func() {
	var log exitLog
	r := Reaper{Escalation: []EscalationStep{}, Reaped: log.add}
	done := make(chan error)
	go func() { done <- r.Run(context.Background()) }()
	live := notedPID("live")
	// A wait for anything steals it, or comes too late.
	syscall.Kill(live, syscall.SIGTERM)
	var status syscall.WaitStatus
	pid, err := syscall.Wait4(-1, &status, 0, nil)
	check(<-done == nil, "Run failed")
	e := log.of("live")
	check(e.Lost == (pid == live), pid, err, e)
	check(!e.Lost || e.Code == -1 && e.String() == "waited for by somebody else", e)
	check(e.Lost || e.Signal == syscall.SIGTERM, e)
})

func TestLost(t *testing.T) { runScenario(t, "lost") }

var _ = registerScenario("no children", func() {}, func() {
	check(new(Reaper).Run(context.Background()) == nil, "Run failed")
	CleanUpChildZombies()
	own := startOwn("exit 3")
	check(new(Reaper).Run(context.Background()) == nil, "Run failed")
	own.Wait()
	check(own.ProcessState.ExitCode() == 3, "own child")
})

func TestNoChildren(t *testing.T) { runScenario(t, "no children") }

// wuntraced is WUNTRACED, which package syscall lacks for AIX.
const wuntraced = 2

var _ = registerScenario("stopped", func() {
	pid := startChild("polite")
	note("stopped", strconv.Itoa(pid))
	check(syscall.Kill(pid, syscall.SIGSTOP) == nil, "stop")
	var status syscall.WaitStatus
	_, err := syscall.Wait4(pid, &status, wuntraced, nil)
	check(err == nil && status.Stopped(), "not stopped:", err)
}, func() {
	var log exitLog
	r := Reaper{Escalation: []EscalationStep{{syscall.SIGTERM, time.Millisecond}}, Reaped: log.add}
	check(r.Run(context.Background()) == nil, "Run failed")
	e := log.of("stopped")
	check(e.Code == 7 && slices.Equal(e.Sent, []syscall.Signal{syscall.SIGTERM, syscall.SIGCONT}), e, e.Sent)
})

func TestStopped(t *testing.T) { runScenario(t, "stopped") }
