//go:build linux

package integrationtest

import (
	"strings"
	"syscall"
	"testing"

	"github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/daemontest/program"
)

// startGated starts a daemon that has a Gate, and is ready.
func startGated(t *testing.T, env ...string) *daemontest.Daemon {
	t.Helper()
	d := program.New(t)
	d.Setenv(program.GateEnv + "=1")
	for _, kv := range env {
		d.Setenv(kv)
	}
	d.Start()
	becomesReady(d, "")
	return d
}

// becomesReady has the version become ready. Its Gate is told, with the state of the restart before.
func becomesReady(d *daemontest.Daemon, state string) {
	d.T.Helper()
	d.Tell("become-ready")
	wantReleased(d, `ready "`+state+`"`)
}

func wantReleased(d *daemontest.Daemon, want string) {
	d.T.Helper()
	if got := d.Want("released"); got != want {
		d.T.Errorf("released: %s, want %s", got, want)
	}
}

// The program serves until there is leave. The state crosses to the version that tells the outcome, and no further.
func TestGateGivesLeave(t *testing.T) {
	t.Parallel()
	d := startGated(t)
	for version := 2; version < 5; version++ {
		state := strings.Repeat("x", version)
		d.DeployVersion(version)
		if path := d.Want("acquire"); path != d.Path {
			t.Errorf("asked about %s, want %s", path, d.Path)
		}
		d.WantAnswer("chdir .", "<nil>") // it goes on
		d.Tell("leave " + state)
		d.WantRestart(version)
		becomesReady(d, state)
	}
}

// A process that was started afresh is told as well: a restart before may have ended with a crash.
func TestGateIsToldAfterCrash(t *testing.T) {
	t.Parallel()
	d := startGated(t)
	d.DeployVersion(2)
	d.Want("acquire")
	d.Tell("leave lost")
	d.WantRestart(2)
	d.Signal(syscall.SIGKILL)
	d.WaitForEnd()

	next := program.New(t)
	next.Setenv(program.GateEnv + "=1")
	next.Start()
	becomesReady(next, "")
}

// A version that is refused is left alone until its file changes.
func TestGateRefuses(t *testing.T) {
	t.Parallel()
	d := startGated(t)
	d.DeployVersion(2)
	d.Want("acquire")
	d.Tell("refuse it has failed elsewhere")
	d.WantLogged("a version that the Gate has refused (it has failed elsewhere)")
	d.DeployVersion(3)
	d.Want("acquire")
	d.Tell("leave ")
	d.WantRestart(3)
	becomesReady(d, "")
}

// A newer version is asked for in place of one that waits, also when that has waited for so long that it is
// checked again.
func TestNewerVersionWhileGateIsAsked(t *testing.T) {
	t.Parallel()
	d := startGated(t)
	d.DeployVersion(2)
	d.Want("acquire")
	d.WantLogged("new version waits for leave to restart")
	d.DeployVersion(3)
	d.Want("withdrawn")
	d.Want("acquire")
	d.DeployVersion(4)
	d.Want("withdrawn")
	d.Want("acquire")
	d.WantLogged("new version waits for leave to restart")
	d.Tell("leave 4")
	d.WantRestart(4)
	becomesReady(d, "4")
}

// The version that runs again after a rollback has the state that its Gate has returned.
func TestGateIsToldOfRollback(t *testing.T) {
	t.Parallel()
	program.NeedRollback(t)
	for name, test := range map[string]struct{ env, fail string }{
		"not ready":   {program.ReadyEnv + "=1m", "fail it is no good"},
		"not healthy": {program.HealthEnv + "=1m", "fail it is no good"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := startGated(t, test.env)
			d.DeployVersion(2)
			d.Want("acquire")
			d.Tell("leave two")
			d.WantRestart(2)
			if name == "not healthy" {
				d.Tell("become-ready")
			}
			d.Tell(test.fail)
			if after := d.NextStart(); after.Version != 1 {
				t.Fatalf("version %d runs", after.Version)
			}
			wantReleased(d, `rolled back "two" autorestart: the new version was rolled back: it is no good`)
			d.Tell("become-ready")
			d.DeployVersion(3)
			d.Want("acquire") // for a version that was never executed
			d.Tell("leave three")
			d.WantRestart(3)
			d.Tell("become-ready")
			if name == "not healthy" {
				d.WantAnswer("generation", "3") // on trial there is no outcome
				return
			}
			wantReleased(d, `ready "three"`)
		})
	}
}

// A version on trial asks for no other one: if that were rolled back, the leave would be for the wrong version.
func TestVersionOnTrialDoesNotAskGate(t *testing.T) {
	t.Parallel()
	program.NeedRollback(t)
	d := startGated(t, program.HealthEnv+"=300ms")
	d.DeployVersion(2)
	d.Want("acquire")
	d.Tell("leave two")
	d.WantRestart(2)
	d.Tell("become-ready")
	d.DeployVersion(3)
	wantReleased(d, `ready "two"`) // comes before the next event
	d.Want("acquire")
	d.Tell("leave three")
	d.WantRestart(3)
}

// A version that could not be rolled back goes on, and asks for a better one. The leave for the version that has
// failed is not given back meanwhile.
func TestGateIsAskedAfterFailedRollback(t *testing.T) {
	t.Parallel()
	program.NeedRollback(t)
	d := startGated(t, program.ReadyEnv+"=3s")
	d.DeployVersion(2)
	d.Want("acquire")
	d.Tell("leave two")
	d.WantRestart(2)
	spoilPrevious(d)
	d.WantLogged("cannot execute the previous version")
	d.DeployVersion(3)
	d.Want("acquire")
}

// The same with Verify, and for a version that waits for so long that it is verified again.
func TestGateVerifiesAgainAfterFailedRollback(t *testing.T) {
	t.Parallel()
	program.NeedRollback(t)
	d := startGated(t, program.ReadyEnv+"=3s", program.GateEnv+"=verify")
	d.DeployVersion(2)
	d.Want("acquire")
	d.Tell("leave two")
	d.WantRestart(2)
	spoilPrevious(d)
	d.WantLogged("cannot execute the previous version")
	d.DeployVersion(3)
	d.Want("acquire")
	d.WantLogged("new version waits for leave to restart")
	d.Tell("leave three")
	d.WantRestart(3)
}
