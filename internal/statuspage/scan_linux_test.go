//go:build !autorestart_portable

package statuspage

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/forcefallback"
	"github.com/autorestart-go/autorestart/internal/step"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// startWithPage starts a process with a page, which this process writes.
func startWithPage(t testing.TB) (pid int, tracker *Tracker) {
	t.Helper()
	page := newPage(t)
	cmd := exec.Command("sleep", "1000")
	cmd.ExtraFiles = []*os.File{page.File()}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return cmd.Process.Pid, Track(page, Start{PID: cmd.Process.Pid, Version: "v1"})
}

func TestScanFindsPages(t *testing.T) {
	var want []int
	for range 20 {
		pid, _ := startWithPage(t)
		want = append(want, pid)
	}
	var kept []*Reader
	visited := map[int]int{}
	err := Scan(func(pid int, r *Reader, err error) bool {
		visited[pid]++
		if err == nil && slices.Contains(want, pid) {
			kept = append(kept, r)
			return true
		}
		return false
	})
	if err != nil || len(kept) != len(want) || visited[os.Getpid()] != 1 {
		t.Errorf("%d pages, %v", len(kept), err)
	}
	for _, r := range kept {
		if s, err := r.Status(); err != nil || s.PID != r.PID() || !r.IsOpen() {
			t.Errorf("process %d: %+v, %v", r.PID(), s, err)
		}
		r.Close()
	}
}

func TestFollowerSeesStepsAndEnds(t *testing.T) {
	t.Run("inotify", testFollower)
	t.Run("no inotify", func(t *testing.T) {
		runHelper(t, "follower without inotify")
	})
}

func runHelper(t *testing.T, name string) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestFollowerWithoutInotify$")
	cmd.Env = append(os.Environ(), followEnv+"=1")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%s: %v: %s", name, err, text)
	}
}

const followEnv = "AUTORESTART_TEST_FOLLOW"

// It is run by TestFollowerSeesStepsAndEnds, in a process of its own.
func TestFollowerWithoutInotify(t *testing.T) {
	if os.Getenv(followEnv) == "" {
		return
	}
	err := forcefallback.DenyAll(forcefallback.Denial{Call: unix.SYS_INOTIFY_INIT1, Arg: -1, Errno: unix.EMFILE})
	if err != nil {
		t.Skip(err)
	}
	f := NewFollower()
	defer f.Close()
	pid, _ := startWithPage(t)
	r := readerOf(t, pid)
	f.Page(r)
	f.Process(pid)
	if pids := f.Wait(t.Context(), time.Millisecond); len(pids) > 0 { // the caller looks at the pages from time to time
		t.Errorf("changed: %v", pids)
	}
	unix.Kill(pid, unix.SIGKILL)
	testprocess.WaitFor(t, "end", func() bool {
		f.Wait(t.Context(), 10*time.Millisecond)
		return f.Ended(pid)
	})
}

func testFollower(t *testing.T) {
	f := NewFollower()
	defer f.Close()
	const n = 150 // more than there may be inotify instances
	var pids []int
	trackers := map[int]*Tracker{}
	for range n {
		pid, tracker := startWithPage(t)
		r := readerOf(t, pid)
		if !f.Process(pid) {
			t.Fatalf("no process %d", pid)
		}
		f.Page(r)
		pids = append(pids, pid)
		trackers[pid] = tracker
	}
	slices.Sort(pids)
	want := func(want []int, what string) {
		t.Helper()
		var changed []int
		testprocess.WaitFor(t, what, func() bool {
			changed = append(changed, f.Wait(context.Background(), 10*time.Millisecond)...)
			slices.Sort(changed)
			changed = slices.Compact(changed)
			return slices.Equal(changed, want)
		})
	}
	for _, pid := range pids {
		trackers[pid].Step(step.Ready, nil)
	}
	want(pids, "steps")
	f.Forget(pids[0])
	trackers[pids[0]].Step(step.Draining, nil)
	trackers[pids[1]].Step(step.Draining, nil)
	want(pids[1:2], "step of one process")
	unix.Kill(pids[2], unix.SIGKILL)
	want(pids[2:3], "end")
	if !f.Ended(pids[2]) || f.Ended(pids[3]) {
		t.Error("another process has ended")
	}
}

// A process that was ended by its parent is not found, and has no page.
func TestOpenOfNoProcess(t *testing.T) {
	cmd := exec.Command("true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(cmd.Process.Pid); err != ErrNoProcess {
		t.Error(err)
	}
	if IsAlive(cmd.Process.Pid) || !IsAlive(os.Getpid()) || NewFollower().Process(cmd.Process.Pid) {
		t.Error("the wrong process is alive")
	}
}

// BenchmarkStep measures what a step of a restart costs.
func BenchmarkStep(b *testing.B) {
	tracker := Track(newPage(b), Start{PID: os.Getpid(), Version: "v1", File: "fd00/1a2b/25a0c0/17c0ffee12345678/"})
	tracker.Watching("/srv/app", "inotify")
	rejection := &step.Rejection{Err: errors.New("found a file that is open for writing, expected another"), File: "fd00/1a2b/25a0c0/17c0ffee12345678/"}
	for b.Loop() {
		tracker.Step(step.Rejected, rejection)
	}
}
