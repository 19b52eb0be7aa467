//go:build linux

package integrationtest

import (
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/daemontest/program"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// withLaunchLimit has the daemon started with a soft RLIMIT_NOFILE of 777, which the runtime
// raises.
func withLaunchLimit(d *daemontest.Daemon) *daemontest.Daemon {
	d.Cmd.Path = "/bin/sh"
	d.Cmd.Args = []string{"sh", "-c", `ulimit -Sn 777; exec "$0"`, d.Path}
	return d
}

// The runtime raises RLIMIT_NOFILE for itself. The limit that it found, which its children
// get, must be the same in each image, even after an exec that failed.
func TestRestartKeepsOpenFilesLimit(t *testing.T) {
	t.Parallel()
	d := withLaunchLimit(program.New(t))
	d.Setenv(program.ManualEnv + "=1")
	raised := d.Start().SoftNofile
	for restart := range 2 {
		for range 2 {
			reason := d.Ask("restart-too-long", "done")
			failed := strings.Contains(reason, "too long") || strings.Contains(reason, "would take")
			if limit := d.State().SoftNofile; limit != raised || !failed {
				t.Fatalf("after an exec that failed (%s) the limit is %d, expected %d", reason, limit, raised)
			}
			if limit := d.Ask("nofile", "done"); limit != "777" && daemontest.HaveEvents {
				t.Fatalf("after an exec that failed a child has the limit %s, expected 777", limit)
			}
		}
		d.Tell("restart")
		d.WantRestart(1)
		if limit := d.Ask("nofile", "done"); limit != "777" {
			t.Fatalf("restart %d: a child has the limit %s, expected 777", restart, limit)
		}
	}
}

// setAllLimits sets the limits of the daemon from outside, soft and hard, to values of which
// none is that of a process that was just started, but for hard limits of 0.
func setAllLimits(d *daemontest.Daemon) {
	d.T.Helper()
	for resource, hard := range [...]uint64{
		unix.RLIMIT_CPU: 1 << 20, unix.RLIMIT_FSIZE: 1 << 40, unix.RLIMIT_DATA: 1 << 46, unix.RLIMIT_STACK: 64 << 20,
		unix.RLIMIT_CORE: 1 << 20, unix.RLIMIT_RSS: 1 << 46, unix.RLIMIT_NPROC: 1 << 20, unix.RLIMIT_NOFILE: 4000,
		unix.RLIMIT_MEMLOCK: 1 << 20, unix.RLIMIT_AS: 1 << 56, unix.RLIMIT_LOCKS: 1 << 20, unix.RLIMIT_SIGPENDING: 5000,
		unix.RLIMIT_MSGQUEUE: 1 << 16, unix.RLIMIT_NICE: 30, unix.RLIMIT_RTPRIO: 50, unix.RLIMIT_RTTIME: 1 << 40,
	} {
		var now unix.Rlimit
		if err := unix.Prlimit(d.PID(), resource, nil, &now); err != nil {
			d.T.Fatal(err)
		}
		hard = min(hard, now.Max) // more takes CAP_SYS_RESOURCE
		soft := max(hard, 1) - 1
		if resource == unix.RLIMIT_NOFILE {
			soft = hard / 2 // the runtime itself sets one less than the hard limit
		}
		setLimit(d, resource, soft, hard)
	}
}

func setLimit(d *daemontest.Daemon, resource int, soft, hard uint64) {
	d.T.Helper()
	if err := unix.Prlimit(d.PID(), resource, &unix.Rlimit{Cur: soft, Max: hard}, nil); err != nil {
		d.T.Fatalf("limit %d: %v", resource, err)
	}
}

// needLimitsKept skips the test where syscall.Exec executes the next image: that puts the limit
// back that this image was started with.
func needLimitsKept(t *testing.T) {
	t.Helper()
	if !daemontest.HaveEvents {
		t.Skip("limits are set from outside only on Linux")
	}
}

// wantLimits compares the limits of the daemon with the text of its limits file at another
// time, and those of a child with them.
func wantLimits(d *daemontest.Daemon, want string) {
	d.T.Helper()
	if got := limits(d); got != want {
		d.T.Errorf("limits\n%s\nwant\n%s", got, want)
	}
	if got := d.Ask("child-limits", "done"); got != want {
		d.T.Errorf("limits of a child\n%s\nwant\n%s", got, want)
	}
}

func limits(d *daemontest.Daemon) string {
	d.T.Helper()
	return strings.TrimSpace(string(testprocess.ReadFile(d.T, fmt.Sprintf("/proc/%d/limits", d.PID()))))
}

// TestLimitsFromOutside: a limit that another process has set, as by prlimit(1), is in force
// until the next one is set, in the process and in its children.
func TestLimitsFromOutside(t *testing.T) {
	t.Parallel()
	needLimitsKept(t)
	t.Run("restart", func(t *testing.T) {
		d := withLaunchLimit(program.New(t))
		d.Setenv(program.ManualEnv + "=1")
		d.Start()
		var limit unix.Rlimit
		if err := unix.Prlimit(d.PID(), unix.RLIMIT_NOFILE, nil, &limit); err != nil {
			t.Fatal(err)
		}
		setLimit(d, unix.RLIMIT_NOFILE, 2000, limit.Max)
		inForce := limits(d)
		d.Restart()
		wantLimits(d, inForce)

		setAllLimits(d)
		inForce = limits(d)
		wantLimits(d, inForce)
		d.Ask("restart-too-long", "done")
		wantLimits(d, inForce)
		for range 2 {
			d.Restart()
			wantLimits(d, inForce)
		}
		setLimit(d, unix.RLIMIT_NOFILE, 1000, 3000)
		inForce = limits(d)
		d.Restart()
		wantLimits(d, inForce)
	})
	t.Run("rollback", func(t *testing.T) {
		d := startWithTrial(t)
		d.DeployVersion(2)
		d.WantRestart(2)
		setAllLimits(d)
		inForce := limits(d)
		d.Tell("fail it is no good")
		d.NextStart()
		wantLimits(d, inForce)
		program.WantRolledBack(d, "it is no good")
	})
	t.Run("rollback to a version with limits", func(t *testing.T) {
		d := startWithTrial(t)
		setAllLimits(d)
		inForce := limits(d)
		d.DeployVersion(2)
		d.WantRestart(2)
		wantLimits(d, inForce)
		d.Tell("fail it is no good")
		d.NextStart()
		wantLimits(d, inForce)
	})
}

func startWithTrial(t *testing.T) *daemontest.Daemon {
	program.NeedRollback(t)
	d := withLaunchLimit(program.New(t))
	d.Setenv(program.ReadyEnv + "=1h")
	d.Start()
	return d
}

// TestLimitSetByTheProgram: a soft limit that a version sets for itself stays in force.
func TestLimitSetByTheProgram(t *testing.T) {
	needLimitsKept(t)
	d := program.New(t)
	d.Setenv(program.ManualEnv + "=1")
	d.Start()
	for _, soft := range []uint64{500, 600, math.MaxUint64} {
		d.WantAnswer(fmt.Sprint("set-nofile ", soft), "<nil>")
		inForce := limits(d)
		for range 2 {
			d.Restart()
			wantLimits(d, inForce)
		}
	}
}

// TestLimitBelowOpenFiles: with a limit below the number of open files nothing can be opened.
// The process lives on, and restarts once there is room.
func TestLimitBelowOpenFiles(t *testing.T) {
	needLimitsKept(t)
	d := program.New(t)
	d.Setenv(program.ManualEnv + "=1")
	d.Start()
	d.WantAnswer("pass-many 200", "<nil>")
	setLimit(d, unix.RLIMIT_NOFILE, 100, 300)
	d.DeployVersion(2)
	d.Tell("restart")
	d.WantAnswer("generation", "0")
	stop(d) // the next image changes its limits for a moment
	setLimit(d, unix.RLIMIT_NOFILE, 250, 300)
	inForce := limits(d)
	d.Signal(unix.SIGCONT)
	d.WantRestart(2)
	wantLimits(d, inForce)
	d.WantAnswer("generation", "1")
}

// TestLimitLoweredDuringDrain: the limit may be lowered below the number of open files when it
// is too late to open anything. If all descriptors below it cross, as those of systemd do, then
// neither the loader of the next image nor its runtime could open anything, and it would end.
func TestLimitLoweredDuringDrain(t *testing.T) {
	t.Parallel()
	needLimitsKept(t)
	d := program.New(t)
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	d.Cmd.ExtraFiles = slices.Repeat([]*os.File{null}, 100)
	d.Setenv(program.ManualEnv + "=1")
	d.Start()
	if reason := d.Ask("restart-limited 50 1000", "done"); !strings.Contains(reason, "too many open files") {
		t.Error(reason)
	}
	d.WantAnswer("generation", "0")
	setLimit(d, unix.RLIMIT_NOFILE, 900, 1000)
	inForce := limits(d)
	d.Restart()
	wantLimits(d, inForce)
}
