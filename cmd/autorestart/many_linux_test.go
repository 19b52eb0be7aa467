//go:build !autorestart_portable

package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/statuspage"
	"github.com/autorestart-go/autorestart/internal/step"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// startWithPage starts a small process that has a status page.
func startWithPage(t testing.TB, path string) (pid int) {
	t.Helper()
	page, err := statuspage.Create()
	if err != nil {
		t.Fatal(err)
	}
	defer page.Close()
	cmd := exec.Command("sleep", "1000")
	cmd.ExtraFiles = []*os.File{page.File()}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	tracker := statuspage.Track(page, statuspage.Start{PID: cmd.Process.Pid, Version: "v1.2.3\x1b[31m", Started: time.Now()})
	tracker.Step(step.Ready, nil)
	tracker.Watching(path, "inotify")
	return cmd.Process.Pid
}

// BenchmarkPS lists 1,000 processes beside those of the machine. The best of three rounds counts at least.
func BenchmarkPS(b *testing.B) {
	const n, limit = 1000, time.Second
	for range n {
		startWithPage(b, "/srv/app")
	}
	var stdout strings.Builder
	best := time.Hour
	round := func() {
		stdout.Reset()
		begun := time.Now()
		if exit := run(context.Background(), []string{"ps"}, output{&stdout, io.Discard}); exit != exitDone {
			b.Fatal(exit)
		}
		best = min(best, time.Since(begun))
	}
	for b.Loop() {
		round()
	}
	for more := 2; more > 0 && best > limit; more-- {
		round()
	}
	if got := strings.Count(stdout.String(), "/srv/app"); got != n {
		b.Errorf("%d of %d processes are listed", got, n)
	}
	if best > limit {
		b.Errorf("%d processes take %v (limit %v)", n, best, limit)
	}
}

// startMore starts further processes of a daemon.
func startMore(t testing.TB, d *daemontest.Daemon, n int) (pids []int) {
	t.Helper()
	for range n {
		cmd := exec.Command(d.Path)
		cmd.Env = d.Cmd.Env
		if _, err := cmd.StdinPipe(); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			cmd.Process.Kill()
			cmd.Wait()
		})
		pids = append(pids, cmd.Process.Pid)
	}
	return pids
}

// deployToMany deploys a version to several processes, and returns how long after the last of them was ready the
// command has ended.
func deployToMany(t testing.TB, path, source string, pids []int) (late time.Duration) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", "deploy", source, path)
	cmd.Env = append(os.Environ(), testprocess.UseHelper(t, "autorestart"))
	text, err := cmd.CombinedOutput()
	ended := time.Now()
	want := fmt.Sprintf("all %d processes are ready", len(pids))
	if len(pids) == 1 {
		want = "the process is ready"
	}
	if err != nil || !strings.Contains(string(text), want) {
		t.Fatalf("%v: %s", err, text)
	}
	var last time.Time
	for _, pid := range pids {
		r, err := statuspage.Find(pid)
		if err != nil {
			t.Fatal(err)
		}
		s, err := r.Status()
		r.Close()
		if err != nil || s.Last.Kind != statuspage.Ready {
			t.Fatalf("process %d: %+v, %v", pid, s, err)
		}
		if s.Last.At.After(last) {
			last = s.Last.At
		}
	}
	return ended.Sub(last)
}

// startMany starts n processes of one executable, and waits until they watch it.
func startMany(t testing.TB, n int) (path string, pids []int) {
	t.Helper()
	d := daemontest.New(t, "deployed")
	d.Start()
	go func() {
		for {
			if _, ok := d.PendingStart(); !ok {
				return
			}
		}
	}()
	pids = append(startMore(t, d, n-1), d.PID())
	testprocess.WaitFor(t, "status pages", func() bool {
		watching := 0
		all, _, err := list()
		for _, p := range all {
			if p.Program == d.Path && p.Status == "serving" && p.Watch != "" {
				watching++
			}
		}
		return watching == n && err == nil
	})
	return d.Path, pids
}

func TestDeployToSeveralProcesses(t *testing.T) {
	path, pids := startMany(t, 5)
	deployToMany(t, path, source(t, 2), pids)
}

// BenchmarkDeployReturns measures how long after the last process is ready the command ends. The best round counts:
// other work of the machine can only add to it. If it is above the limit, there are more rounds.
func BenchmarkDeployReturns(b *testing.B) {
	const limit, most = 10 * time.Millisecond, 100
	for _, n := range []int{1, 100} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			path, pids := startMany(b, n)
			var took []time.Duration
			version := 1
			round := func() {
				version = 5 - version // 4, 1, 4 ...
				took = append(took, deployToMany(b, path, source(b, version), pids))
			}
			for b.Loop() {
				round()
			}
			for len(took) < most && slices.Min(took) > limit {
				round()
			}
			best, median := slices.Min(took), testprocess.Quantile(took, 0.5)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(testprocess.Microseconds(median), "us-after-ready-p50")
			b.ReportMetric(testprocess.Microseconds(best), "us-after-ready-best")
			if best > limit {
				b.Errorf("%v after the last process is ready (limit %v)", best, limit)
			}
		})
	}
}
