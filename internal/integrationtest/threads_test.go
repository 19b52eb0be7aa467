//go:build linux

package integrationtest

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/daemontest/program"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// mainThread returns what the main thread of a daemon has that another thread need not have.
func mainThread(t *testing.T, d *daemontest.Daemon) map[string]string {
	t.Helper()
	proc := fmt.Sprintf("/proc/%d/", d.PID())
	has := map[string]string{"parent-death signal": fmt.Sprint(d.Last.ParentDeath)}
	for _, link := range []string{"ns/cgroup", "ns/ipc", "ns/mnt", "ns/net", "ns/uts", "cwd", "root"} {
		target, err := os.Readlink(proc + link)
		if err != nil {
			t.Fatal(err)
		}
		has[link] = target
	}
	status := testprocess.Status(t, d.PID())
	for _, key := range []string{
		"Umask", "Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb",
		"NoNewPrivs", "Seccomp", "SigBlk", "Cpus_allowed",
	} {
		has[key] = status[key]
	}
	if slack, err := os.ReadFile(proc + "timerslack_ns"); err == nil { // it takes CAP_SYS_NICE
		has["timer slack"] = string(slack)
	}
	nice, err := unix.Getpriority(unix.PRIO_PROCESS, d.PID())
	if err != nil {
		t.Fatal(err)
	}
	has["nice value"] = fmt.Sprint(20 - nice)
	return has
}

func wantMainThread(t *testing.T, d *daemontest.Daemon, when string, before map[string]string) {
	t.Helper()
	now := mainThread(t, d)
	for key, want := range before {
		if now[key] != want {
			t.Errorf("%s: %s is %q, was %q", when, key, now[key], want)
		}
	}
}

// changes returns which changes of threads can be made here.
func changes(t *testing.T) []string {
	if !daemontest.HaveEvents {
		t.Skip("threads have their own only on Linux")
	}
	return slices.DeleteFunc(slices.Sorted(maps.Keys(program.ThreadChanges)), func(what string) bool {
		return program.ThreadChanges[what].NeedsRoot && os.Geteuid() != 0
	})
}

// A restart takes nothing from the thread that its goroutine happens to be on.
func TestRestartTakesNothingFromOtherThreads(t *testing.T) {
	t.Parallel()
	all := changes(t)
	d := program.New(t)
	d.Start()
	for _, what := range all {
		before := mainThread(t, d)
		d.WantAnswer("change-threads "+what, "<nil>")
		d.Tell("restart")
		d.WantRestart(1)
		wantMainThread(t, d, "restart after a change of "+what, before)
	}
}

// The same holds for a rollback.
func TestRollbackTakesNothingFromOtherThreads(t *testing.T) {
	t.Parallel()
	for _, what := range changes(t) {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			d := program.OnTrial(t, time.Minute)
			before := mainThread(t, d)
			d.WantAnswer("change-threads "+what, "<nil>")
			d.Tell("fail it is no good")
			program.WantRollback(d, "it is no good")
			wantMainThread(t, d, "rollback", before)
		})
	}
}

// Nor does a restart take anything from a goroutine that happens to be on the main thread, but
// its priority: that is what renice(1) changes.
func TestRestartTakesNothingFromGoroutineOnMainThread(t *testing.T) {
	t.Parallel()
	for _, what := range changes(t) {
		if what == "nice value" {
			continue
		}
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			d := program.New(t)
			d.Start()
			d.WaitForWatch()
			before := mainThread(t, d)
			if answer := d.Ask("change-main "+what, "done"); answer != "<nil>" {
				t.Skip(answer)
			}
			for range 3 {
				d.Tell("restart")
				d.WantRestart(1)
				wantMainThread(t, d, "restart", before)
			}
		})
	}
}

// A restart sends children their parent-death signal: the threads end that have started them.
func TestParentDeathSignalOfChildren(t *testing.T) {
	changes(t)
	d := program.New(t)
	d.Start()
	pid := d.Ask("bound-child", "done")
	d.Tell("restart")
	d.WantRestart(1)
	testprocess.WaitFor(t, "end of the child", func() bool {
		stat, err := os.ReadFile("/proc/" + pid + "/stat")
		return err != nil || strings.Contains(string(stat), ") Z ")
	})
}
