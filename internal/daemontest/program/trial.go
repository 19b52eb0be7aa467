//go:build linux

package program

import (
	"fmt"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/handover"
)

// NeedRollback skips the test where no version can be rolled back.
func NeedRollback(t testing.TB) {
	t.Helper()
	if !handover.CanRollBack {
		t.Skip("no rollback on this system")
	}
}

// StartWithTrial starts a daemon whose next version is on trial. The daemon has
// passed on a pipe and a counter.
func StartWithTrial(t testing.TB, timeout time.Duration) *daemontest.Daemon {
	t.Helper()
	NeedRollback(t)
	d := New(t)
	d.Setenv(ReadyEnv + "=" + timeout.String())
	d.Start()
	d.WantAnswer("pass pipe one", "<nil>")
	d.WantAnswer("set-state counter 1", "")
	return d
}

// OnTrial starts a daemon whose version 2 is on trial.
func OnTrial(t testing.TB, timeout time.Duration) *daemontest.Daemon {
	t.Helper()
	d := StartWithTrial(t, timeout)
	d.DeployVersion(2)
	d.WantRestart(2)
	return d
}

// OnHealthTrial starts a daemon whose version 2 is on trial, and stays on trial for the given time
// after it is ready. Its Check does what kind says; there is none if that is empty.
func OnHealthTrial(t testing.TB, timeout time.Duration, kind string) *daemontest.Daemon {
	t.Helper()
	NeedRollback(t)
	d := New(t)
	d.Setenv(HealthEnv + "=" + timeout.String())
	d.Setenv(CheckEnv + "=" + kind)
	d.Start()
	d.WantAnswer("pass pipe one", "<nil>")
	d.WantAnswer("set-state counter 1", "")
	d.DeployVersion(2)
	d.WantRestart(2)
	return d
}

// WantRollback waits until version 1 of such a daemon runs again, as if there had
// been no other.
func WantRollback(d *daemontest.Daemon, reason string) {
	d.T.Helper()
	before := d.Last
	after := d.NextStart()
	if after.Version != 1 || after.PID != before.PID {
		d.T.Fatalf("version %d runs as PID %d", after.Version, after.PID)
	}
	WantRolledBack(d, reason)
	for _, c := range []struct {
		what        string
		before, now any
	}{
		{"arguments", before.Args, after.Args},
		{"environment", before.Env, after.Env},
		{"directory", before.Dir, after.Dir},
		{"name", before.Comm, after.Comm},
		{"umask", before.Umask, after.Umask},
		{"limit of open files", before.SoftNofile, after.SoftNofile},
	} {
		if fmt.Sprint(c.before) != fmt.Sprint(c.now) {
			d.T.Errorf("%s: was %q, is %q", c.what, c.before, c.now)
		}
	}
	d.WantAnswer("get-state counter", "1, true")
	d.WantAnswer("names", "pipe")
}

// WantRolledBack asks the daemon why the version after this one was rolled back.
func WantRolledBack(d *daemontest.Daemon, reason string) {
	d.T.Helper()
	d.WantAnswer("rolled-back", RolledBackPrefix+reason)
}

// RolledBackPrefix is the beginning of the error that tells of a rollback.
const RolledBackPrefix = "autorestart: the new version was rolled back: "

// LoggedFailedBefore is what the daemon logs when it finds a version that was rolled
// back before.
const LoggedFailedBefore = "a version that failed before"
