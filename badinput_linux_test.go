//go:build !autorestart_portable

package autorestart

import (
	"context"
	"errors"
	"fmt"
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

	"golang.org/x/sys/unix"
)

// With and without pidfds: what the tests of single mishaps run on.
var byBoth = []string{"all", "no-pidfd-ENOSYS"}

func runScenarioByBoth(t *testing.T, name string) {
	for _, rung := range byBoth {
		t.Run("rung="+rung, func(t *testing.T) {
			t.Parallel()
			runScenarioOn(t, name, rung)
		})
	}
}

// The PID of an inherited child comes back as a child of this image.

const inNamespaceEnv = "AUTORESTART_TEST_IN_NAMESPACE"

// enterPIDNamespace has the scenario begin again as process 1 of a PID namespace
// with a /proc of its own, where PIDs can be chosen.
func enterPIDNamespace() {
	if os.Getenv(inNamespaceEnv) != "" {
		check(privateMounts() == nil, "mounts")
		check(unix.Mount("proc", "/proc", "proc", 0, "") == nil, "mounting proc")
		return
	}
	os.Setenv(inNamespaceEnv, "1")
	err := newPIDNamespace(syscall.CLONE_NEWNS)
	fmt.Println("skip:", err)
	os.Exit(0)
}

// startThreads has the runtime start all the threads that it will need, because a
// new one could get the PID that is meant for a child, and keep it.
func startThreads() {
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			pause := unix.NsecToTimespec(int64(20 * time.Millisecond))
			unix.Nanosleep(&pause, nil) // all at once, so that each has its thread
		})
	}
	wg.Wait()
}

// reusePID steals the status of the child and starts another with its PID.
func reusePID(pid int, start func() int) {
	startThreads()
	syscall.Kill(pid, syscall.SIGKILL)
	got, err := syscall.Wait4(pid, nil, 0, nil)
	check(got == pid || err == syscall.ECHILD, "wait4:", err) // a Reaper may have been first
	eventually("a child with the PID", func() bool {
		f, err := os.OpenFile("/proc/sys/kernel/ns_last_pid", os.O_WRONLY, 0)
		check(err == nil, err)
		defer f.Close()
		_, err = f.WriteString(strconv.Itoa(pid - 1))
		check(err == nil, err)
		return start() == pid
	})
}

var _ = registerScenario("reused", func() {
	enterPIDNamespace()
	noteChild("living", "live")
	noteChild("zombie", "live")
	noteChild("adopted", "live")
	noteChild("inherited", "live")
}, func() {
	eventually("a tick later", func() bool { return startTick() > inheritedChildren.imageStart()+1 })
	var own [3]*exec.Cmd
	for i, key := range []string{"living", "zombie", "adopted"} {
		reusePID(notedPID(key), func() int {
			kind := "live"
			if key == "zombie" {
				kind = "exit 3"
			}
			cmd := startOwn(kind)
			if cmd.Process.Pid != notedPID(key) { // a thread took it
				cmd.Process.Kill()
				cmd.Wait()
				return 0
			}
			own[i] = cmd
			return cmd.Process.Pid
		})
	}
	eventually("a zombie", func() bool { return peekChild(notedPID("zombie")) == waitExited })

	_, err := Adopt(notedPID("adopted"))
	check(errors.Is(err, ErrNotInherited), "adopted our own child:", err)

	var log exitLog
	r := Reaper{Escalation: []EscalationStep{{syscall.SIGKILL, 0}}, Reaped: log.add}
	if os.Getenv("SILENT") != "" {
		r.Reaped = nil
	}
	check(r.Run(context.Background()) == nil, "Run")
	if os.Getenv("SILENT") == "" {
		check(log.of("living").Lost && log.of("zombie").Lost, log.exits)
		check(log.of("inherited").Signal == syscall.SIGKILL, log.exits)
	}
	check(gone(notedPID("inherited")), "the inherited child is still there")

	check(own[0].Process.Signal(syscall.Signal(0)) == nil, "our own child is gone")
	own[1].Wait()
	check(own[1].ProcessState != nil && own[1].ProcessState.ExitCode() == 3, "status stolen")
	for _, cmd := range []*exec.Cmd{own[0], own[2]} {
		check(peekChild(cmd.Process.Pid) == waitRunning, "our own child was signalled")
		cmd.Process.Kill()
		cmd.Wait()
	}
})

func TestReusedPID(t *testing.T) {
	for _, rung := range byBoth {
		for _, silent := range []string{"", "SILENT=1"} {
			t.Run("rung="+rung+" "+silent, func(t *testing.T) {
				t.Parallel()
				out, err := scenarioOutput(t, "reused", rung, silent)
				if strings.HasPrefix(string(out), "skip: ") {
					t.Skip(string(out))
				}
				if err != nil {
					t.Fatalf("%v\n%s", err, out)
				}
			})
		}
	}
}

// In the by-PID case, a child can also be lost and its PID come back while the
// Reaper waits.
var _ = registerScenario("reused meanwhile", func() {
	enterPIDNamespace()
	noteChild("child", "live")
}, func() {
	var log exitLog
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	hold := make(chan struct{})
	var once bool
	r := Reaper{
		Escalation: []EscalationStep{{syscall.SIGURG, 10 * time.Millisecond}, {syscall.SIGKILL, 200 * time.Millisecond}},
		Reaped:     log.add,
		Logger: logFunc(func(msg string) {
			if strings.HasPrefix(msg, "signal sent") && !once {
				once = true
				close(hold)
			}
		}),
	}
	done := make(chan error)
	go func() { done <- r.Run(ctx) }()
	<-hold
	eventually("a tick later", func() bool { return startTick() > inheritedChildren.imageStart()+1 })
	var own *exec.Cmd
	reusePID(notedPID("child"), func() int {
		own = startOwn("live")
		if own.Process.Pid != notedPID("child") {
			own.Process.Kill()
			own.Wait()
			return 0
		}
		return own.Process.Pid
	})
	check(<-done == nil, "Run")
	e := log.of("child")
	check(e.Lost || e.Signal == syscall.SIGKILL, e) // whoever waited first
	check(peekChild(own.Process.Pid) == waitRunning, "our own child was signalled")
	own.Process.Kill()
	own.Wait()
})

type logFunc func(string)

func (f logFunc) Info(msg string, _ ...any)  { f(msg) }
func (f logFunc) Warn(msg string, _ ...any)  { f(msg) }
func (f logFunc) Error(msg string, _ ...any) { f(msg) }

func TestReusedMeanwhile(t *testing.T) { runScenarioByBoth(t, "reused meanwhile") }

// A traced zombie can't be waited for before its tracer lets go of it, though
// its pidfd says that it has exited.

func init() {
	children["tracer"] = func(ready func()) {
		runtime.LockOSThread()
		pid := notedPID("target")
		_, _, errno := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_SEIZE, uintptr(pid), 0, 0, 0, 0)
		check(errno == 0, "ptrace:", errno)
		ready()
		select {}
	}
}

var _ = registerScenario("traced", func() {
	noteChild("target", "live")
	noteChild("tracer", "tracer")
}, func() {
	var log exitLog
	r := Reaper{
		Escalation: []EscalationStep{}, Reaped: log.add,
		Skip: func(c Child) bool { return c.PID == notedPID("tracer") },
	}
	done := make(chan error)
	go func() { done <- r.Run(context.Background()) }()
	eventually("the Reaper takes it", func() bool { return len(inheritedChildren.list()) == 1 })
	check(syscall.Kill(notedPID("target"), syscall.SIGKILL) == nil, "kill")
	eventually("the tracer has it", func() bool {
		s, err := readStat(notedPID("target"), make([]byte, statSize))
		return err == nil && s.state == 'Z'
	})
	var before, after syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &before)
	select {
	case <-done:
		fail("done, and the child is traced")
	case <-time.After(2 * stuckPause):
	}
	syscall.Getrusage(syscall.RUSAGE_SELF, &after)
	used := after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano()
	check(used < int64(stuckPause/2), "busy waiting:", time.Duration(used))
	check(!gone(notedPID("target")), "gone too early")

	syscall.Kill(notedPID("tracer"), syscall.SIGKILL)
	check(<-done == nil, "Run")
	check(log.of("target").Signal == syscall.SIGKILL && log.len() == 1, log.exits)
	check(r.Run(context.Background()) == nil, "Run")
})

func TestTraced(t *testing.T) {
	if b, err := os.ReadFile("/proc/sys/kernel/yama/ptrace_scope"); err == nil && string(b) != "0\n" && os.Geteuid() != 0 {
		t.Skip("ptrace_scope forbids to trace a sibling")
	}
	runScenarioByBoth(t, "traced")
}

// A children file that lies, is cut, or is not one.

var _ = registerScenario("false children file", func() {
	if err := privateMounts(); err != nil {
		fmt.Println("skip:", err)
		os.Exit(0)
	}
	noteChild("live", "live")
	noteChild("polite", "polite")
	content := os.Getenv("CONTENT")
	content = strings.ReplaceAll(content, "LIVE", noted("live"))
	content = strings.ReplaceAll(content, "POLITE", noted("polite"))
	content = strings.ReplaceAll(content, "PARENT", strconv.Itoa(os.Getppid()))
	file := filepath.Join(os.TempDir(), "autorestart-children-"+strconv.Itoa(os.Getpid()))
	check(os.WriteFile(file, []byte(content), 0o644) == nil, "writing")
	self := strconv.Itoa(os.Getpid())
	err := unix.Mount(file, "/proc/"+self+"/task/"+self+"/children", "", unix.MS_BIND, "")
	os.Remove(file)
	check(err == nil, "mounting over the file:", err)
}, func() {
	var log exitLog
	r := Reaper{Escalation: []EscalationStep{{syscall.SIGTERM, 0}}, Reaped: log.add}
	check(r.Run(context.Background()) == nil, "Run")
	check(log.of("live").Signal == syscall.SIGTERM && log.of("polite").Code == 7, inheritedChildren.by, log.exits)
	for _, e := range log.exits {
		if e.PID != notedPID("live") && e.PID != notedPID("polite") {
			check(e.Lost && len(e.Sent) == 0, "not our child:", e, e.Sent)
		}
	}
	check(haveNoChildren(), "children are left")
})

func TestFalseChildrenFile(t *testing.T) {
	for name, content := range map[string]string{
		"true":               "LIVE POLITE ",
		"empty":              "",
		"garbage":            "\x00\xff no",
		"cut":                "LIVE 1",
		"cut at a number":    "LIVE POLITE",
		"only strangers":     "1 2 PARENT ",
		"strangers first":    "1 LIVE POLITE ",
		"strangers last":     "LIVE POLITE PARENT ",
		"strangers between":  "LIVE 1 PARENT 2 POLITE ",
		"twice":              "LIVE POLITE LIVE POLITE ",
		"negative":           "-1 LIVE POLITE ",
		"too large a number": "LIVE 99999999999999999999 POLITE ",
	} {
		for _, rung := range byBoth {
			t.Run(name+" rung="+rung, func(t *testing.T) {
				t.Parallel()
				out, err := scenarioOutput(t, "false children file", rung, "CONTENT="+strings.ReplaceAll(content, "\x00", "\x01"))
				if strings.HasPrefix(string(out), "skip: ") {
					t.Skip(string(out))
				}
				if err != nil {
					t.Fatalf("%v\n%s", err, out)
				}
			})
		}
	}
}

// Children that end while SIGCHLD is ignored leave no zombie; the new image does
// not inherit that, because Go's runtime asks for the signal.
var _ = registerScenario("SIGCHLD ignored", func() {
	signal.Ignore(syscall.SIGCHLD)
	noteChild("live", "live")
	pid := startChild("exit 3")
	note("vanished", strconv.Itoa(pid))
	eventually("the child vanishes", func() bool { return gone(pid) })
}, func() {
	var log exitLog
	r := Reaper{Escalation: quick(), Reaped: log.add}
	check(r.Run(context.Background()) == nil, "Run")
	check(log.len() == 1 && log.of("live").Signal == syscall.SIGHUP, log.exits)
})

func TestSIGCHLDIgnored(t *testing.T) { runScenario(t, "SIGCHLD ignored") }

// If this image ignores it, the kernel takes the children away as they end. What a
// Reaper can't know of them it doesn't make up, and it comes to an end.
var _ = registerScenario("SIGCHLD ignored here", func() {
	noteZombie("zombie")
	noteChild("early", "live")
	noteChild("late", "live")
}, func() {
	warmUp()
	start := held()
	signal.Ignore(syscall.SIGCHLD)
	check(syscall.Kill(notedPID("early"), syscall.SIGKILL) == nil, "kill")
	eventually("it vanishes", func() bool { return gone(notedPID("early")) })
	var log exitLog
	r := Reaper{Escalation: []EscalationStep{{syscall.SIGKILL, 0}}, Reaped: log.add}
	check(r.Run(context.Background()) == nil, "Run")
	check(log.len() == 3 && log.of("zombie").Code == 3, log.exits)
	early, late := log.of("early"), log.of("late")
	check(early.Lost && len(early.Sent) == 0, early)
	check(late.Lost || late.Signal == syscall.SIGKILL, late) // to wait by PID takes SIGCHLD
	check(haveNoChildren(), "children are left")
	start.check()
})

func TestSIGCHLDIgnoredHere(t *testing.T) { runScenario(t, "SIGCHLD ignored here") }

// Not one descriptor is left.
var _ = registerScenario("full table", func() {
	noteZombie("zombie")
	noteChild("live", "live")
	noteChild("polite", "polite")
}, func() {
	warmUp()
	limit := unix.Rlimit{Cur: 64, Max: 64}
	check(unix.Setrlimit(unix.RLIMIT_NOFILE, &limit) == nil, "setrlimit")
	var fds []int
	for {
		fd, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			check(err == unix.EMFILE, err)
			break
		}
		fds = append(fds, fd)
	}
	adopted, err := Adopt(notedPID("polite"))
	check(err == nil && adopted.Signal(syscall.SIGTERM) == nil, err)
	e, err := adopted.Wait(context.Background())
	check(err == nil && e.Code == 7, e, err)

	var log exitLog
	r := Reaper{Escalation: quick(), Reaped: log.add}
	check(r.Run(context.Background()) == nil, "Run")
	check(log.of("zombie").Code == 3 && log.of("live").Signal == syscall.SIGHUP, log.exits)
	for _, fd := range fds {
		unix.Close(fd)
	}
})

func TestFullTable(t *testing.T) { runScenarioByBoth(t, "full table") }

// The initialisation of a package before this one has started a child, which then
// is listed.
var _ = registerScenario("started before the listing", func() {
	noteZombie("zombie")
	noteChild("live", "live")
}, func() {
	if inheritedChildren.imageStart(); inheritedChildren.thread == 0 {
		killAll(inheritedChildren.all)
		return // nothing tells them apart
	}
	own := []int{startChild("live"), startChild("exit 3")}
	eventually("a zombie", func() bool { return peekChild(own[1]) == waitExited })
	h := listInherited()
	for _, pid := range own { // as the main thread would have started it
		if !slices.Contains(h.all, pid) {
			h.free = append(slices.Clone(h.free), pid)
			h.all = h.free
		}
	}
	check(len(h.all) == 4, "listed by", h.by, h.all)
	list := h.list()
	check(len(list) == 2 && !slices.Contains(list, own[0]) && !slices.Contains(list, own[1]), list, "own:", own)
	check(!h.lists(own[0]) && !h.take(own[0]), "taken for an inherited child")
	for _, pid := range own {
		_, err := h.adopt(pid)
		check(errors.Is(err, ErrNotInherited), "adopted our own child:", err)
	}
	var log exitLog
	r := Reaper{Escalation: []EscalationStep{{syscall.SIGKILL, 0}}, Reaped: log.add}
	check(r.reap(context.Background(), h, r.take(h)) == nil, "reap")
	check(log.len() == 2 && log.of("live").Signal == syscall.SIGKILL && log.of("zombie").Code == 3, log.exits)
	check(peekChild(own[0]) == waitRunning && peekChild(own[1]) == waitExited, "our own were touched")
	killAll(own)
})

func TestStartedBeforeListing(t *testing.T) { runScenario(t, "started before the listing") }

func TestStartedAfter(t *testing.T) {
	for _, tt := range []struct {
		name   string
		thread int
		pid    int
		start  uint64
		want   bool
	}{
		{"a tick before", 100, 101, 999, false},
		{"a tick after", 100, 99, 1001, true},
		{"in the same tick, before", 100, 99, 1000, false},
		{"in the same tick, after", 100, 101, 1000, true},
		{"in the same tick, before, and PIDs have begun again", 300, 32760, 1000, false},
		{"in the same tick, after, and PIDs have begun again", 32760, 300, 1000, true},
		{"the same of many PIDs, before", 300, 4194300, 1000, false},
		{"the same of many PIDs, after", 4194300, 300, 1000, true},
		{"in the same tick, no thread known", 0, 101, 1000, false},
		{"a tick after, no thread known", 0, 101, 1001, true},
	} {
		if got := startedAfter(tt.thread, 1000, tt.pid, tt.start); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}

// Ten thousand exits in one moment: before the Reaper runs, while it waits, and by
// what it sends itself.
var _ = registerScenario("many at once", func() { startSleepers() }, func() {
	warmUp()
	start := held()
	pids := inheritedChildren.list()
	check(len(pids) == count(), "inherited", len(pids))
	own := startOwn("live")
	var log exitLog
	stepped := make(chan struct{})
	var once sync.Once
	r := Reaper{Escalation: []EscalationStep{}, Reaped: log.add}
	switch os.Getenv("MOMENT") {
	case "before":
		killAll(pids)
		eventually("zombies", func() bool {
			return !slices.ContainsFunc(pids, func(pid int) bool { return peekChild(pid) != waitExited })
		})
		close(stepped)
	case "meanwhile":
		r.Logger = logFunc(func(msg string) {
			if msg == "inherited children" {
				once.Do(func() { close(stepped) })
			}
		})
	case "signalled":
		r.Escalation = []EscalationStep{{syscall.SIGKILL, 0}}
		close(stepped)
	}
	done := make(chan error)
	go func() { done <- r.Run(context.Background()) }()
	<-stepped
	if os.Getenv("MOMENT") == "meanwhile" {
		killAll(pids)
	}
	check(<-done == nil, "Run")
	check(log.len() == count(), "reported", log.len())
	for _, pid := range pids {
		e := log.exits[pid]
		check(e.Signal == syscall.SIGKILL && !e.Lost, e)
	}
	check(peekChild(own.Process.Pid) == waitRunning, "our own child was signalled")
	own.Process.Kill()
	own.Wait()
	check(haveNoChildren(), "children are left")
	start.check()
})

func TestManyAtOnce(t *testing.T) {
	for _, rung := range byBoth {
		for _, moment := range []string{"before", "meanwhile", "signalled"} {
			t.Run("rung="+rung+" "+moment, func(t *testing.T) {
				n := 10000
				if testing.Short() {
					n = 1000
				}
				out, err := scenarioOutput(t, "many at once", rung, countEnv+"="+strconv.Itoa(n), "MOMENT="+moment)
				if err != nil {
					t.Fatalf("%v\n%s", err, out)
				}
			})
		}
	}
}

// However late and of however many children it is asked, one look vouches for all.
var _ = registerScenario("certain", func() {
	noteChild("first", "live")
	noteZombie("zombie")
	noteChild("last", "live")
}, func() {
	if _, err := readChildren(os.Getpid()); err != nil {
		return // without the list it can't be done
	}
	own := startOwn("live")
	eventually("a tick later", func() bool { return startTick() > inheritedChildren.imageStart()+1 })
	all := inheritedChildren.list()
	check(len(all) == 3, all)
	for _, some := range [][]int{all, all[:1], all[1:], {all[2], all[0], all[1]}} {
		for _, few := range []bool{true, false} {
			sure := inheritedChildren.certain(some, few)
			check(len(sure) == len(some), "not all are looked at")
			check(!slices.Contains(sure, false), "not certain of", some, "among", all, sure)
		}
	}
	check(!inheritedChildren.certain([]int{own.Process.Pid}, true)[0], "certain of our own")
	own.Process.Kill()
	own.Wait()
	killAll(all)
})

func TestCertain(t *testing.T) { runScenarioByBoth(t, "certain") }
