//go:build unix

package reaper_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart"
)

// quick is a schedule for tests: it ends a child that ignores everything, too.
func quick() []autorestart.EscalationStep {
	return []autorestart.EscalationStep{
		{Signal: syscall.SIGHUP, After: 10 * time.Millisecond},
		{Signal: syscall.SIGTERM, After: time.Second},
		{Signal: syscall.SIGKILL, After: time.Second},
	}
}

// patient is a schedule for children that end at the first signal, when the machine lets them.
func patient() []autorestart.EscalationStep {
	return []autorestart.EscalationStep{
		{Signal: syscall.SIGHUP, After: 10 * time.Millisecond},
		{Signal: syscall.SIGKILL, After: time.Minute},
	}
}

// exitLog collects the reports of a Reaper by PID.
type exitLog struct {
	mu    sync.Mutex
	exits map[int]autorestart.ChildExit
}

func (l *exitLog) add(e autorestart.ChildExit) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.exits == nil {
		l.exits = make(map[int]autorestart.ChildExit)
	}
	check(l.exits[e.PID].PID == 0, "reported twice:", e)
	l.exits[e.PID] = e
}

func (l *exitLog) of(key string) autorestart.ChildExit {
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

// resources is what must be the same before and after.
type resources struct{ goroutines, descriptors int }

func resourcesUsed() resources {
	return resources{runtime.NumGoroutine(), countDescriptors()}
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

func (r resources) check() {
	eventually("as many goroutines and descriptors as before", func() bool {
		now := resourcesUsed()
		return now.goroutines <= r.goroutines && now.descriptors <= r.descriptors
	})
}

// warmUp has the runtime make what it keeps from the first use on: the goroutine
// of os/signal, the descriptors of its poller.
func warmUp() {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGCHLD)
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
	start := resourcesUsed()

	var log exitLog
	r := autorestart.Reaper{Escalation: quick(), Reaped: log.add}
	check(r.Run(context.Background()) == nil, "Run failed")
	start.check()
	after := startOwn("exit 3")

	check(log.len() == 4, "reports:", log.exits)
	zombie := log.of("zombie")
	check(zombie.Code == 3 && zombie.Signal == 0 && !zombie.Lost, zombie)
	check(len(zombie.Sent) == 0 || !seesZombies, "a zombie was sent", zombie.Sent)
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

// quietEnv has the scenario "clean up" call CleanUpChildZombiesQuietly.
const quietEnv = "AUTORESTART_TEST_QUIET"

// logEnv names the file that is the standard error of the scenario "clean up", which waits for a
// line about each child: they are written after a child is gone.
const logEnv = "AUTORESTART_TEST_LOG_FILE"

var _ = registerScenario("clean up", func() {
	noteZombie("zombie")
	noteChild("live", "live")
}, func() {
	own := startOwn("exit 3")
	began := time.Now()
	if os.Getenv(quietEnv) != "" {
		autorestart.CleanUpChildZombiesQuietly()
		autorestart.CleanUpChildZombiesQuietly()
	} else {
		autorestart.CleanUpChildZombies()
		autorestart.CleanUpChildZombies()
	}
	eventually("the zombie goes", func() bool { return gone(notedPID("zombie")) })
	live := notedPID("live")
	check(syscall.Kill(live, 0) == nil || time.Since(began) > autorestart.DefaultEscalation()[0].After,
		"a living child was signalled before its time")
	syscall.Kill(live, syscall.SIGKILL)
	eventually("the living child goes when it ends", func() bool { return gone(live) })
	err := own.Wait()
	check(own.ProcessState.ExitCode() == 3, "own child:", err)
	if file := os.Getenv(logEnv); file != "" {
		eventually("a line about each child", func() bool {
			lines, err := os.ReadFile(file)
			check(err == nil, err)
			return bytes.Count(lines, []byte("child reaped")) == 2
		})
	}
})

func TestCleanUp(t *testing.T) { runScenario(t, "clean up") }

func TestCleanUpLogs(t *testing.T) {
	for fallback := range fallbacks {
		t.Run("fallback="+fallback, func(t *testing.T) {
			log, err := os.Create(filepath.Join(t.TempDir(), "log"))
			if err != nil {
				t.Fatal(err)
			}
			defer log.Close()
			cmd := scenarioCommand(t, "clean up", fallback)
			cmd.Env = append(cmd.Env, logEnv+"="+log.Name())
			cmd.Stderr = log
			out, err := cmd.Output()
			skipIfSkipped(t, out)
			noisy, err3 := os.ReadFile(log.Name())
			quiet, err2 := scenarioOutput(t, "clean up", fallback, quietEnv+"=1")
			if err := errors.Join(err, err2, err3); err != nil {
				t.Fatalf("%v\n%s%s", err, out, noisy)
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

var _ = registerScenario("skip", func() {
	noteChild("skipped", "live")
	noteChild("other", "live")
}, func() {
	var log exitLog
	r := autorestart.Reaper{Escalation: quick(), Reaped: log.add, Skip: func(c autorestart.Child) bool { return c.PID == notedPID("skipped") }}
	check(r.Run(context.Background()) == nil, "Run failed")
	check(log.len() == 1 && log.of("other").Signal != 0, "reports:", log.exits)
	check(syscall.Kill(notedPID("skipped"), 0) == nil, "the skipped child is gone")

	// The next one may take it.
	r.Skip = nil
	check(r.Run(context.Background()) == nil, "second Run failed")
	check(log.len() == 2 && log.of("skipped").Signal != 0, "reports:", log.exits)
})

func TestSkip(t *testing.T) { runScenario(t, "skip") }

var _ = registerScenario("context", func() {
	noteChild("live", "live")
	noteChild("polite", "polite")
}, func() {
	warmUp()
	start := resourcesUsed()
	ctx, cancel := context.WithCancel(context.Background())
	var log exitLog
	r := autorestart.Reaper{Escalation: []autorestart.EscalationStep{}, Reaped: func(e autorestart.ChildExit) { log.add(e); cancel() }}
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
		due := autorestart.Reaper{Escalation: []autorestart.EscalationStep{{Signal: syscall.SIGHUP}}, Reaped: log.add}
		check(errors.Is(due.Run(ctx), context.Canceled), "Run without a context")
	}
	check(log.len() == 1, log.exits)

	// The rest is there for the next.
	r = autorestart.Reaper{Escalation: patient(), Reaped: log.add}
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
	r := autorestart.Reaper{Escalation: quick(), Reaped: func(e autorestart.ChildExit) { <-release; log.add(e) }}
	done := make(chan error)
	go func() { done <- r.Run(context.Background()) }()
	for i := range 20 {
		pid := notedPID("child" + strconv.Itoa(i))
		eventually("reaped, though Reaped has not returned", func() bool { return gone(pid) })
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
	r := autorestart.Reaper{Escalation: []autorestart.EscalationStep{}, Reaped: log.add}
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
	check(!e.Lost || e.Code == -1 && e.String() == "waited for by another part of this process", e)
	check(e.Lost || e.Signal == syscall.SIGTERM, e)
})

func TestLost(t *testing.T) { runScenario(t, "lost") }

var _ = registerScenario("no children", func() {}, func() {
	check(new(autorestart.Reaper).Run(context.Background()) == nil, "Run failed")
	autorestart.CleanUpChildZombies()
	own := startOwn("exit 3")
	check(new(autorestart.Reaper).Run(context.Background()) == nil, "Run failed")
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
	r := autorestart.Reaper{Escalation: []autorestart.EscalationStep{{Signal: syscall.SIGTERM, After: time.Millisecond}}, Reaped: log.add}
	check(r.Run(context.Background()) == nil, "Run failed")
	e := log.of("stopped")
	check(e.Code == 7 && slices.Equal(e.Sent, []syscall.Signal{syscall.SIGTERM, syscall.SIGCONT}), e, e.Sent)
})

func TestStopped(t *testing.T) { runScenario(t, "stopped") }
