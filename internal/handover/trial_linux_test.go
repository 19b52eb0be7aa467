//go:build !autorestart_portable

package handover

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart/internal/rawsys"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

var trial = &ProcessTrial

// putOnTrial puts this process on trial, until the end of the test.
func putOnTrial(t *testing.T, s State) {
	trial.Start(&s)
	t.Cleanup(func() {
		trial.mu.Lock()
		trial.phase = 0
		trial.mu.Unlock()
		trial.timer.Stop()
	})
}

// TestRollbackCannotBeKept: a version is not executed without the trial that it
// should be on.
func TestRollbackCannotBeKept(t *testing.T) {
	const none = 1 << 20
	putOnTrial(t, of(map[NumberKind][]int{PID: {1}, ReadyWithin: {1 << 30}, Previous: {none}, Dir: {none}}, nil))
	var s State
	if _, err := trial.Keep(&s); err != syscall.EBADF {
		t.Error(err)
	}
}

// TestRollbackIsTriedAgain: what keeps the previous version from being executed may
// pass.
func TestRollbackIsTriedAgain(t *testing.T) {
	attempts := make(chan bool, 100)
	t.Cleanup(func() { trial.OnRollback(nil) })
	trial.OnRollback(func(Target, []string, []string, *State) error {
		attempts <- true
		return syscall.ETXTBSY
	})
	putOnTrial(t, of(map[NumberKind][]int{PID: {1}, ReadyWithin: {1}, Previous: {1 << 20}}, nil))
	for range 2 {
		testprocess.Receive(t, "exec of the previous version", attempts)
	}
}

// TestFailedRollbackUndoesPutBack: what a rollback puts at its number is there for the
// exec only.
func TestFailedRollbackUndoesPutBack(t *testing.T) {
	open := func() int { // a pipe, which has an identity
		var fds [2]int
		if err := syscall.Pipe2(fds[:], syscall.O_CLOEXEC|syscall.O_NONBLOCK); err != nil {
			t.Fatal(err)
		}
		syscall.Close(fds[1])
		t.Cleanup(func() { syscall.Close(fds[0]) })
		return fds[0]
	}
	look := func(fd int) string {
		target, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
		if err != nil {
			return "closed"
		}
		info, err := os.ReadFile("/proc/self/fdinfo/" + strconv.Itoa(fd))
		if err != nil {
			t.Fatal(err)
		}
		_, flags, _ := strings.Cut(string(info), "flags:")
		flags, _, _ = strings.Cut(flags, "\n")
		return target + flags // with close-on-exec and nonblocking
	}
	keptBlocking, kept, placeholder, keptAtNumber, number := open(), open(), open(), open(), open()
	const empty = 900 // a number that no open file gets
	rawsys.KeepOnExec(placeholder)
	putOnTrial(t, of(map[NumberKind][]int{PID: {1}, ReadyWithin: {1 << 30}, Previous: {1 << 20}, Dir: {1 << 20}}, nil))
	for _, p := range []putBack{
		{keptBlocking, placeholder, false}, {kept, number, true}, {keptAtNumber, keptAtNumber, true}, {kept, empty, true},
	} {
		if !trial.PutBack(p.fd, p.number, p.nonblocking) {
			t.Fatal("not on trial")
		}
	}
	all := []int{keptBlocking, kept, placeholder, keptAtNumber, empty, number}
	state := func() (lines []string) {
		for _, fd := range all {
			lines = append(lines, look(fd))
		}
		return lines
	}
	before := state()
	t.Cleanup(func() { trial.OnRollback(nil) })
	trial.OnRollback(func(_ Target, args, env []string, s *State) error {
		var during []string
		func() {
			undo, err := doAll(s.changes)
			if err != nil {
				t.Fatal(err)
			}
			defer undo()
			during = state()
		}()
		if during[2] == before[2] || during[4] == "closed" || during[5] == before[5] || during[3] == before[3] {
			t.Errorf("put back\n%q\nwas\n%q", during, before)
		}
		if !strings.HasSuffix(during[2], "\t00") {
			t.Errorf("%s is not blocking, or close-on-exec", during[2])
		}
		return Execute(Target{Path: "/nonexistent"}, args, env, s)
	})
	if err := trial.RollBack("a test"); err != syscall.ENOENT {
		t.Error(err)
	}
	if after := state(); !slices.Equal(after, before) {
		t.Errorf("a rollback that failed has left\n%q\nbefore it were\n%q", after, before)
	}
	trial.End()
	for _, fd := range []int{keptBlocking, kept, keptAtNumber} {
		if got := look(fd); got != "closed" {
			t.Errorf("descriptor %d is %s after the trial", fd, got)
		}
	}
	if trial.PutBack(number, number, true) {
		t.Error("kept after the trial")
	}
}

// TestPhases: a version that is ready in time is rolled back only as one that is not healthy.
func TestPhases(t *testing.T) {
	reasons := make(chan string, 100)
	t.Cleanup(func() { trial.OnRollback(nil) })
	trial.OnRollback(func(_ Target, _, _ []string, s *State) error {
		reasons <- s.Texts[Reason]
		return syscall.ETXTBSY
	})
	const none = 1 << 20
	numbers := map[NumberKind][]int{PID: {1}, ReadyWithin: {1 << 30}, Previous: {none}, Dir: {none}}
	putOnTrial(t, of(numbers, nil))
	if within := trial.BecomeReady(); within != 0 || !trial.On() {
		t.Errorf("without a HealthTimeout: %v, on trial: %t", within, trial.On())
	}
	numbers[HealthWithin] = []int{2500}
	putOnTrial(t, of(numbers, nil))
	if err := trial.rollBack(time.Now(), ready, "too early"); err != ErrNotOnTrial {
		t.Error("unhealthy before it is ready:", err)
	}
	if within := trial.BecomeReady(); within != 2500*time.Millisecond {
		t.Errorf("%v is left", within)
	}
	if within := trial.BecomeReady(); within != 0 {
		t.Errorf("%v is left in a second call", within)
	}
	if err := trial.rollBack(time.Now(), starting, "too late"); err != ErrNotOnTrial {
		t.Error("not ready when it is:", err)
	}
	go trial.RollBackUnhealthy("unhealthy")
	for range 2 { // it is tried again
		if reason := <-reasons; reason != "unhealthy" {
			t.Error(reason)
		}
	}
	var next State
	if _, err := trial.Keep(&next); err != syscall.EBADF || next.Number(HealthWithin) != 2500 {
		t.Errorf("the next version: %v, %+v", err, next)
	}
	trial.End()
	if err := trial.RollBack("later"); err != ErrNotOnTrial {
		t.Error(err)
	}
}
