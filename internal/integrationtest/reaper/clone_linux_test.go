//go:build linux && !autorestart_portable

package reaper_test

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// Children that clone(2) makes in ways of its own: as a sibling of the caller, without
// SIGCHLD, and in the memory of the caller.

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

// vforker is a child that is suspended, because its own child of vfork(2) lives on in its memory. It
// would end with 7 on SIGTERM.
const vforker = `
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

static void end(int sig) { _exit(7); }

int main(void) {
	signal(SIGTERM, end);
	if (vfork() == 0) {
		dprintf(3, "%dr", getpid());
		for (;;) pause();
	}
	for (;;) pause();
}
`

// The first image is given the program, and notes its children.
var _ = registerScenario("vfork", func() {
	needSubreaper()
	pid, child := startReady("vforker", []string{noted("program")}, nil, nil)
	note("parent", strconv.Itoa(pid))
	note("child", strconv.Itoa(child))
}, func() {
	var log, orphans, left exitLog
	end := startOrphans(&autorestart.Orphans{
		Subreaper: true, Reaped: orphans.add,
		Undecided: func(c autorestart.Child) { left.add(autorestart.ChildExit{PID: c.PID}) },
	})
	eventually("subreaper", getsOrphans)
	r := autorestart.Reaper{
		Escalation: []autorestart.EscalationStep{
			{Signal: syscall.SIGTERM}, {Signal: syscall.SIGKILL, After: 100 * time.Millisecond},
		},
		Reaped: log.add,
	}
	check(r.Run(context.Background()) == nil, "Run")
	e := log.of("parent")
	check(e.Signal == syscall.SIGKILL && slices.Equal(e.Sent, []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL}), e, e.Sent)

	child := notedPID("child")
	check(isRunning(child), "its child is no orphan that lives")
	check(syscall.Kill(child, syscall.SIGKILL) == nil, "kill")
	eventually("its child is reaped, or left", func() bool { return orphans.has(child) || left.has(child) })
	check(gone(child) || !startedByPidfd(), "its child is left")
	end()
})

func TestVfork(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles a program")
	}
	testprocess.NeedTool(t, "gcc")
	program := filepath.Join(t.TempDir(), "vforker")
	testprocess.Shell(t, `printf %s "$2" | gcc -x c - -o "$1"`, program, vforker)
	for _, fallback := range withAndWithoutPidfds {
		t.Run("fallback="+fallback, func(t *testing.T) {
			runScenarioOn(t, "vfork", fallback, noteEnv+"_program="+program)
		})
	}
}
