//go:build linux && !autorestart_portable

package reaper_test

import (
	"context"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart"
)

// Children that clone(2) makes in ways of its own: as a sibling of the caller, and without
// SIGCHLD.

// clone makes a copy of this process, with one thread that lives, by clone(2). The flags end with the
// signal that announces the exit.
//
//go:norace
//go:nosplit
func clone(flags uintptr) (pid int) {
	r, _, errno := syscall.RawSyscall6(syscall.SYS_CLONE, flags, 0, 0, 0, 0, 0) // s390x has another order
	for r == 0 && errno == 0 {
		syscall.RawSyscall6(unix.SYS_PPOLL, 0, 0, 0, 0, 0, 0)
	}
	if errno != 0 {
		return -1
	}
	return int(r)
}

func init() {
	// has made a sibling, which is a child of its parent, and tells its PID
	children["sibling"] = func(ready func()) {
		tell(clone(unix.CLONE_PARENT | uintptr(unix.SIGCHLD)))
		ready()
		select {}
	}
	switch os.Getenv(scenarioEnv) {
	case "clones", "clones beside orphans":
		runtime.LockOSThread() // children of main are in the list of the first thread
	}
}

var _ = registerScenario("clones", func() {
	for key, sig := range map[string]uintptr{"none": 0, "none, early": 0, "SIGUSR1": uintptr(unix.SIGUSR1)} {
		note(key, strconv.Itoa(clone(sig)))
	}
	pid, sibling := startTelling("sibling", nil)
	note("child", strconv.Itoa(pid))
	note("sibling", strconv.Itoa(sibling))
}, func() {
	check(len(freeChildren()) == 5, freeChildren())
	var log exitLog
	r := autorestart.Reaper{Escalation: []autorestart.EscalationStep{}, Reaped: log.add}
	done := make(chan error)
	go func() { done <- r.Run(context.Background()) }()
	eventually("the Reaper takes them", func() bool { return len(freeChildren()) == 0 })
	// They come to an end one by one, and it must not take the exit of another to notice.
	for _, key := range []string{"none", "SIGUSR1", "sibling", "none, early", "child"} {
		check(syscall.Kill(notedPID(key), syscall.SIGKILL) == nil, "kill")
		eventually("it is reaped: "+key, func() bool { return gone(notedPID(key)) })
	}
	check(<-done == nil, "Run")
	for _, e := range log.copy() {
		check(e.Signal == syscall.SIGKILL && !e.Lost, e)
	}
	check(haveNoChildren(), "children are left")
})

func TestClones(t *testing.T) { runScenarioWithAndWithoutPidfds(t, "clones") }

var _ = registerScenario("clones beside orphans", needSubreaper, func() {
	var log, left exitLog
	end := startOrphans(&autorestart.Orphans{
		Subreaper: true, Reaped: log.add,
		Undecided: func(c autorestart.Child) { left.add(autorestart.ChildExit{PID: c.PID}) },
	})
	eventually("subreaper", getsOrphans)

	// A child that does not announce its exit by SIGCHLD was made by this process, which will
	// wait for it. A sibling that the child of the first thread has made is in
	// the list of orphans, and is one for all that can be told.
	own := clone(0)
	_, sibling := startTelling("sibling", nil)
	check(syscall.Kill(own, syscall.SIGKILL) == nil && syscall.Kill(sibling, syscall.SIGKILL) == nil, "kill")
	eventually("the sibling is reaped or left", func() bool { return gone(sibling) || left.len() > 0 })
	check(gone(sibling) == startedByPidfd(), "the sibling")
	var status unix.WaitStatus
	pid, err := unix.Wait4(own, &status, unix.WALL, nil)
	check(pid == own && status.Signal() == syscall.SIGKILL, "stolen:", pid, err)

	// In the list of another thread it can't be told from a child that this thread has started.
	var siblingOfOther int
	onThread := make(chan bool)
	go func() {
		runtime.LockOSThread()
		_, siblingOfOther = startTelling("sibling", nil)
		onThread <- true
		select {}
	}()
	<-onThread
	before := log.len()
	check(syscall.Kill(siblingOfOther, syscall.SIGKILL) == nil, "kill")
	eventually("it exits", func() bool { return isZombie(siblingOfOther) })
	runParent()
	eventually("orphans are looked after", func() bool { return log.len() > before || !startedByPidfd() })
	check(isZombie(siblingOfOther), "taken from another thread")
	end()
	endChildren()
})

func TestClonesBesideOrphans(t *testing.T) {
	runScenarioWithAndWithoutPidfds(t, "clones beside orphans")
}
