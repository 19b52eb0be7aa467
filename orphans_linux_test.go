//go:build !autorestart_portable

package autorestart

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestWhoseZombie(t *testing.T) {
	ours := [2]int{10, 20}
	for _, tt := range []struct {
		name string
		e    evidence
		want verdict
	}{
		{"nothing known", evidence{pid: 99, session: -1, ours: ours}, unless},
		{"older than this image", evidence{pid: 99, session: 20, ours: ours, older: true}, ofNobody},
		{"our session", evidence{pid: 99, session: 20, ours: ours}, unless},
		{"our session at the start", evidence{pid: 99, session: 10, ours: ours}, unless},
		{"its own session", evidence{pid: 99, session: 99, ours: ours}, unless},
		{"a third session", evidence{pid: 99, session: 50, ours: ours}, ofNobody},
		{"a session outside of the PID namespace", evidence{pid: 99, session: 0, ours: ours}, ofNobody},
		{"ours is outside, too", evidence{pid: 99, session: 0, ours: [2]int{0, 1}}, unless},
		{"another thread's child", evidence{pid: 99, session: 20, ours: ours, place: placeOther}, ofOurs},
		{"the main thread's child", evidence{pid: 99, session: 20, ours: ours, place: placeMain}, unless},
		{"missed in the lists", evidence{pid: 99, session: 20, ours: ours, place: placeMissed}, again},
		{"a third session, missed", evidence{pid: 99, session: 50, ours: ours, place: placeMissed}, ofNobody},
	} {
		if got := whose(tt.e); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestParseFDSize(t *testing.T) {
	for in, want := range map[string]int{
		"Name:\tx\nFDSize:\t64\nGroups:\t\n": 64,
		"Name:\tFDSize:\t1\nFDSize:\t256\n":  256,
		"Name:\tx\nFDSize:\t64":              0,
		"FDSize:\t64\n":                      0, // never the first line
		"Name:\tx\nFDSize:\t-1\n":            0,
		"":                                   0,
	} {
		if got, ok := parseFDSize([]byte(in)); got != want || ok != (want > 0) {
			t.Errorf("parseFDSize(%q) = %d, %v", in, got, ok)
		}
	}
}

func TestOrphansNeedARole(t *testing.T) {
	if os.Getpid() == 1 {
		t.Skip("this is process 1")
	}
	if err := new(Orphans).Run(t.Context()); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("Run: %v", err)
	}
}

func init() {
	// exits with 5 as soon as its parent is gone
	children["orphan"] = func(ready func()) {
		parent := os.Getppid()
		ready()
		for os.Getppid() == parent {
			time.Sleep(time.Millisecond)
		}
		os.Exit(5)
	}
	// leaves two orphans, one of them in a session of which it is not the leader
	children["parent"] = func(ready func()) {
		startChild("orphan")
		startChildAttr("session leader", &syscall.SysProcAttr{Setsid: true})
		ready()
		os.Exit(6)
	}
	children["session leader"] = func(ready func()) {
		startChild("orphan")
		ready()
		select {}
	}
}

// startOrphans starts Orphans and returns how to end it.
func startOrphans(o *Orphans) (end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- o.Run(ctx) }()
	return func() {
		cancel()
		err := <-done
		check(errors.Is(err, context.Canceled), "Orphans:", err)
	}
}

// needSubreaper ends a scenario that can't be played here.
func needSubreaper() {
	var on int32
	err := unix.Prctl(unix.PR_GET_CHILD_SUBREAPER, uintptrOf(&on), 0, 0, 0)
	if err != nil && os.Getpid() != 1 {
		fmt.Println("skip: PR_GET_CHILD_SUBREAPER:", err)
		os.Exit(0)
	}
}

// runParent has a child start an orphan and end, and waits for that child.
func runParent() {
	own := startOwn("parent")
	err := own.Wait()
	check(own.ProcessState.ExitCode() == 6, "the parent:", err)
}

var _ = registerScenario("orphans", func() {
	needSubreaper()
	noteChild("inherited", "polite")
	noteChild("reapers", "polite")
}, func() {
	warmUp()
	start := held()
	pidfds := processesHavePidfds()

	// A Reaper and an adopter have their children to themselves.
	var reaped exitLog
	r := Reaper{Escalation: []EscalationStep{}, Reaped: reaped.add, Skip: func(c Child) bool { return c.PID == notedPID("inherited") }}
	reaping := make(chan error)
	go func() { reaping <- r.Run(context.Background()) }()
	eventually("the Reaper takes its child", func() bool { return len(inheritedChildren.list()) == 1 })
	adopted, err := Adopt(notedPID("inherited"))
	check(err == nil, err)

	var log, left exitLog
	o := &Orphans{
		Subreaper: true,
		Reaped:    log.add,
		Undecided: func(c Child) { left.add(ChildExit{PID: c.PID}) },
	}
	end := startOrphans(o)
	eventually("subreaper", isSubreaper)

	// Our own, which nobody waits for yet.
	own := make([]*exec.Cmd, 2) // few, because one of the rungs has few descriptors
	for i := range own {
		own[i] = startOwn("exit 3")
	}
	for range 3 {
		runParent()
	}
	// Every parent leaves an orphan and a session leader with a child.
	eventually("orphans are reaped, or left and reported", func() bool { return log.len()+left.len() >= 3 })
	check(pidfds || left.len() >= 3, "left:", left.copy(), "reaped:", log.copy())
	for _, e := range log.copy() {
		check(e.Code == 5, e)
	}
	// The session leaders are orphans that live. What they leave was born in
	// their sessions, which says enough whatever the kernel can do.
	var leaders []int
	eventually("but for session leaders, all orphans have ended", func() bool {
		leaders = unwaited(own, adopted.PID(), notedPID("reapers"))
		return len(leaders) == 3
	})
	killAll(leaders)
	eventually("their children are reaped", func() bool {
		n := 0
		for _, e := range log.copy() {
			if e.Code == 5 {
				n++
			}
		}
		return n == 6 || n == 3 && !pidfds
	})

	check(syscall.Kill(adopted.PID(), syscall.SIGTERM) == nil, "kill")
	check(syscall.Kill(notedPID("reapers"), syscall.SIGTERM) == nil, "kill")
	e, err := adopted.Wait(context.Background())
	check(err == nil && e.Code == 7 && !e.Lost, e, err)
	check(<-reaping == nil && reaped.of("reapers").Code == 7, reaped.exits)

	for _, cmd := range own {
		err := cmd.Wait()
		check(cmd.ProcessState != nil && cmd.ProcessState.ExitCode() == 3, "stolen:", err)
	}
	if pidfds {
		eventually("nothing is left", haveNoChildren)
	}
	end()
	start.check()
	var on int32
	unix.Prctl(unix.PR_GET_CHILD_SUBREAPER, uintptrOf(&on), 0, 0, 0)
	check(on == 0, "still a subreaper")
})

// Of two runs, the second goes on when the first ends, and the last one puts
// back what was.
var _ = registerScenario("two orphanages", needSubreaper, func() {
	var log exitLog
	o := &Orphans{Subreaper: true, Reaped: log.add}
	endFirst := startOrphans(o)
	eventually("subreaper", isSubreaper)
	endSecond := startOrphans(o)
	eventually("both run", func() bool {
		subreaping.mu.Lock()
		defer subreaping.mu.Unlock()
		return subreaping.runs == 2
	})
	endFirst()
	check(isSubreaper(), "the first has taken it from the second")
	runParent()
	eventually("an orphan is reaped, or left", func() bool { return log.len() > 0 || !processesHavePidfds() })
	endSecond()
	check(!isSubreaper(), "still a subreaper")
	err := (&Orphans{}).Run(context.Background())
	check(errors.Is(err, errors.ErrUnsupported), err)
})

func TestTwoOrphanages(t *testing.T) { runScenarioByBoth(t, "two orphanages") }

func isSubreaper() bool {
	var on int32
	return unix.Prctl(unix.PR_GET_CHILD_SUBREAPER, uintptrOf(&on), 0, 0, 0) == nil && on == 1 || os.Getpid() == 1
}

func (l *exitLog) copy() []ChildExit {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []ChildExit
	for _, e := range l.exits {
		all = append(all, e)
	}
	return all
}

// unwaited lists the living children but for the given ones.
func unwaited(own []*exec.Cmd, but ...int) []int {
	for _, cmd := range own {
		but = append(but, cmd.Process.Pid)
	}
	var pids []int
	for pid := range listThreads().possibleOrphans() {
		if peekChild(pid) == waitRunning && !slices.Contains(but, pid) {
			pids = append(pids, pid)
		}
	}
	return pids
}

func TestOrphans(t *testing.T) { runScenario(t, "orphans") }

// Package initialisation is on the main thread, into whose list orphans come.
func init() {
	switch os.Getenv(scenarioEnv) {
	case "released", "waited for late":
		runtime.LockOSThread()
	}
}

// Children of the main thread, in the midst of orphans, that somebody waits for at
// his leisure.
var _ = registerScenario("waited for late", needSubreaper, func() {
	pidfds := processesHavePidfds()
	var log, left exitLog
	end := startOrphans(&Orphans{Subreaper: true, Reaped: log.add, Undecided: func(c Child) { left.add(ChildExit{PID: c.PID}) }})
	eventually("subreaper", isSubreaper)
	const parents, each = 2, 2
	var own []*exec.Cmd
	for range parents {
		runParent()
		for range each {
			own = append(own, startOwn("exit 3"))
		}
	}
	eventually("all have exited", func() bool {
		return !slices.ContainsFunc(own, func(c *exec.Cmd) bool { return peekChild(c.Process.Pid) == waitRunning })
	})
	runParent() // its orphan is found by a look at all of them
	eventually("orphans are reaped, or left like all that may be ours", func() bool {
		return log.len() > parents || !pidfds && left.len() >= len(own)
	})
	for _, cmd := range own {
		err := cmd.Wait()
		check(cmd.ProcessState != nil && cmd.ProcessState.ExitCode() == 3, "stolen:", err)
	}
	for _, e := range log.copy() {
		check(e.Code == 5, "not an orphan:", e)
	}
	end()
	killAll(unwaited(nil)) // session leaders
})

func TestWaitedForLate(t *testing.T) { runScenario(t, "waited for late") }

// A process that was released belongs to nobody any more, if it is where orphans
// are. In another thread's list it is ours for good.
var _ = registerScenario("released", needSubreaper, func() {
	if !processesHavePidfds() {
		return
	}
	var log exitLog
	end := startOrphans(&Orphans{Subreaper: true, Reaped: log.add})
	own := startOwn("exit 3")
	pid := own.Process.Pid
	list, err := readChildren(os.Getpid())
	check(err != nil || slices.Contains(list, pid), "not a child of the main thread")
	eventually("it exits", func() bool { return peekChild(pid) == waitExited })
	runParent()
	eventually("orphans are looked after", func() bool { return log.len() > 0 })
	check(peekChild(pid) == waitExited, "stolen before it was released")
	check(own.Process.Release() == nil, "Release")
	eventually("it is reaped", func() bool { return gone(pid) })
	end()
})

func TestOrphansReleased(t *testing.T) { runScenario(t, "released") }

// Thousands of os/exec's children come and go beside orphans: none is stolen.
var _ = registerScenario("orphans and exec", needSubreaper, func() {
	var log exitLog
	end := startOrphans(&Orphans{Subreaper: true, Reaped: log.add})
	var wg sync.WaitGroup
	var wrong atomic.Int64
	workers := 4
	if os.Getenv(rungEnv) == "few-descriptors" {
		workers = 1 // os/exec needs some, too
	}
	for w := range workers {
		wg.Go(func() {
			for i := range 50 {
				want := (w*50 + i) % 256
				cmd := exec.Command("/bin/sh", "-c", "sleep 0 & exit "+strconv.Itoa(want))
				err := cmd.Run()
				if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != want {
					wrong.Add(1)
					fmt.Fprintln(os.Stderr, "want", want, "got", err, cmd.ProcessState)
				}
			}
		})
	}
	wg.Wait()
	check(wrong.Load() == 0, "wrong statuses:", wrong.Load())
	if processesHavePidfds() {
		eventually("all orphans are reaped", haveNoChildren)
		check(log.len() > 0, "no orphans")
	}
	end()
})

func TestOrphansAndExec(t *testing.T) { runScenario(t, "orphans and exec") }

// Hundreds of orphans in one moment, all zombies already.
var _ = registerScenario("many orphans", needSubreaper, func() {
	const many = 500
	var log exitLog
	end := startOrphans(&Orphans{Subreaper: true, Reaped: log.add})
	out, err := exec.Command("/bin/sh", "-c", "i=0; while [ $i -lt "+strconv.Itoa(many)+" ]; do /bin/true & i=$((i+1)); done").CombinedOutput()
	check(err == nil, err, string(out))
	if processesHavePidfds() {
		eventually("all orphans are reaped", haveNoChildren)
	}
	end()
})

func TestManyOrphans(t *testing.T) {
	for _, rung := range byBoth {
		t.Run("rung="+rung, func(t *testing.T) { runScenarioOn(t, "many orphans", rung) })
	}
}
