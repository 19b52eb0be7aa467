//go:build linux && !autorestart_portable

package reaper_test

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
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart"
)

func TestOrphansNeedARole(t *testing.T) {
	if os.Getpid() == 1 {
		t.Skip("this is process 1")
	}
	if err := new(autorestart.Orphans).Run(t.Context()); !errors.Is(err, errors.ErrUnsupported) {
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
func startOrphans(o *autorestart.Orphans) (end func()) {
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
	if _, err := subreaper(); err != nil && os.Getpid() != 1 {
		skip("PR_GET_CHILD_SUBREAPER:", err)
	}
}

// subreaper reports whether this process is a child subreaper.
func subreaper() (bool, error) {
	var on int32
	_, _, errno := unix.Syscall(unix.SYS_PRCTL, unix.PR_GET_CHILD_SUBREAPER, uintptr(unsafe.Pointer(&on)), 0)
	if errno != 0 {
		return false, errno
	}
	return on != 0, nil
}

// getsOrphans reports whether orphans come to this process.
func getsOrphans() bool {
	on, _ := subreaper()
	return on || os.Getpid() == 1
}

// startedByPidfd reports whether package os keeps a pidfd for every process that it
// starts.
func startedByPidfd() bool {
	p, err := os.FindProcess(os.Getpid())
	if err != nil {
		return false
	}
	defer p.Release()
	return p.WithHandle(func(uintptr) {}) == nil
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
	start := resourcesUsed()
	pidfds := startedByPidfd()

	// A Reaper and an adopter have their children to themselves.
	var reaped exitLog
	r := autorestart.Reaper{Escalation: []autorestart.EscalationStep{}, Reaped: reaped.add, Skip: func(c autorestart.Child) bool { return c.PID == notedPID("inherited") }}
	reaping := make(chan error)
	go func() { reaping <- r.Run(context.Background()) }()
	eventually("the Reaper takes its child", func() bool { return len(freeChildren()) == 1 })
	adopted, err := autorestart.Adopt(notedPID("inherited"))
	check(err == nil, err)

	var log, left exitLog
	o := &autorestart.Orphans{
		Subreaper: true,
		Reaped:    log.add,
		Undecided: func(c autorestart.Child) { left.add(autorestart.ChildExit{PID: c.PID}) },
	}
	end := startOrphans(o)
	eventually("subreaper", getsOrphans)

	// Our own, which are waited for later.
	own := make([]*exec.Cmd, 2) // few, because one of the fallbacks has few descriptors
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
	// The session leaders are orphans that live. Their children were born
	// in their sessions, which is proof enough on every kernel.
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
	on, _ := subreaper()
	check(!on, "still a subreaper")
})

// Of two runs, the second goes on when the first ends, and the last one undoes what
// the first has done.
var _ = registerScenario("two runs", needSubreaper, func() {
	var first, second exitLog
	left := func(l *exitLog) func(autorestart.Child) {
		return func(c autorestart.Child) { l.add(autorestart.ChildExit{PID: c.PID}) }
	}
	endFirst := startOrphans(&autorestart.Orphans{Subreaper: true, Reaped: first.add, Undecided: left(&first)})
	eventually("subreaper", getsOrphans)
	endSecond := startOrphans(&autorestart.Orphans{Subreaper: true, Reaped: second.add, Undecided: left(&second)})
	eventually("the second deals with an orphan", func() bool {
		runParent()
		time.Sleep(20 * time.Millisecond) // orphans are left alone for half of that
		return second.len() > 0
	})
	endFirst()
	check(getsOrphans(), "the first has ended it for the second")
	before := second.len()
	runParent()
	eventually("an orphan is reaped, or left", func() bool { return second.len() > before })
	endSecond()
	on, _ := subreaper()
	check(!on, "still a subreaper")
	if os.Getpid() != 1 {
		err := (&autorestart.Orphans{}).Run(context.Background())
		check(errors.Is(err, errors.ErrUnsupported), err)
	}
	killAll(unwaited(nil)) // session leaders
})

func TestTwoRunsOfOrphans(t *testing.T) { runScenarioWithAndWithoutPidfds(t, "two runs") }

func (l *exitLog) copy() []autorestart.ChildExit {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []autorestart.ChildExit
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
	for _, pid := range listChildren() {
		if isRunning(pid) && !slices.Contains(but, pid) {
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

// Children of the main thread, in the midst of orphans, that are waited for late.
var _ = registerScenario("waited for late", needSubreaper, func() {
	pidfds := startedByPidfd()
	var log, left exitLog
	end := startOrphans(&autorestart.Orphans{Subreaper: true, Reaped: log.add, Undecided: func(c autorestart.Child) { left.add(autorestart.ChildExit{PID: c.PID}) }})
	eventually("subreaper", getsOrphans)
	const parents, each = 2, 2
	var own []*exec.Cmd
	for range parents {
		runParent()
		for range each {
			own = append(own, startOwn("exit 3"))
		}
	}
	eventually("all have exited", func() bool {
		return !slices.ContainsFunc(own, func(c *exec.Cmd) bool { return isRunning(c.Process.Pid) })
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

// A process that was released is taken for an orphan, if it is where orphans are. In
// another thread's list it is ours for good.
var _ = registerScenario("released", needSubreaper, func() {
	if !startedByPidfd() {
		return
	}
	var log exitLog
	end := startOrphans(&autorestart.Orphans{Subreaper: true, Reaped: log.add})
	own := startOwn("exit 3")
	pid := own.Process.Pid
	check(slices.Contains(listChildren(), pid), "not a child of the main thread")
	eventually("it exits", func() bool { return isZombie(pid) })
	runParent()
	eventually("orphans are looked after", func() bool { return log.len() > 0 })
	check(isZombie(pid), "stolen before it was released")
	check(own.Process.Release() == nil, "Release")
	eventually("it is reaped", func() bool { return gone(pid) })
	end()
	killAll(unwaited(nil)) // the session leader
})

func TestOrphansReleased(t *testing.T) { runScenario(t, "released") }

// Thousands of os/exec's children come and go beside orphans: none is stolen.
var _ = registerScenario("orphans and exec", needSubreaper, func() {
	var log exitLog
	end := startOrphans(&autorestart.Orphans{Subreaper: true, Reaped: log.add})
	var wg sync.WaitGroup
	var wrong atomic.Int64
	workers := 4
	if os.Getenv(fallbackEnv) == fewDescriptors {
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
	if startedByPidfd() {
		eventually("all orphans are reaped", haveNoChildren)
		check(log.len() > 0, "no orphans")
	}
	end()
})

func TestOrphansAndExec(t *testing.T) { runScenario(t, "orphans and exec") }

// Thousands of orphans in one moment, all zombies already.
var _ = registerScenario("many orphans", needSubreaper, func() {
	const many = 5000
	var log exitLog
	end := startOrphans(&autorestart.Orphans{Subreaper: true, Reaped: log.add})
	out, err := exec.Command("/bin/sh", "-c", "i=0; while [ $i -lt "+strconv.Itoa(many)+" ]; do : & i=$((i+1)); done").CombinedOutput()
	check(err == nil, err, string(out))
	if startedByPidfd() {
		eventually("all orphans are reaped", haveNoChildren)
	}
	end()
})

func TestManyOrphans(t *testing.T) {
	for _, fallback := range withAndWithoutPidfds {
		t.Run("fallback="+fallback, func(t *testing.T) { runScenarioOn(t, "many orphans", fallback) })
	}
}
