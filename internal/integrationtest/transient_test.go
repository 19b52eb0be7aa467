//go:build linux

package integrationtest

import (
	"strings"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart/internal/daemontest/program"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// TestTooLongMayPass: an environment that is too long for execve keeps a version from being
// executed, until it is shorter.
func TestTooLongMayPass(t *testing.T) {
	t.Parallel()
	d := program.New(t)
	d.Start()
	d.WantAnswer("fill-env BIG 1000000", "<nil>")
	d.WaitForWatch()
	d.DeployVersion(2)
	d.WantLogged("not ready yet")
	d.Tell("clear-env BIG")
	d.WantRestart(2)
}

// TestFailingExecBacksOff: an exec that fails again and again after everything was drained does
// not drain the program once a second.
func TestFailingExecBacksOff(t *testing.T) {
	t.Parallel()
	d := program.New(t)
	d.Setenv(program.ManualEnv + "=1")
	d.Start()
	d.Tell("run-failing")
	d.WaitForWatch()
	d.DeployVersion(2)
	var drains []time.Duration // when they began
	for range 4 {
		at, err := time.ParseDuration(d.Want("quiesced"))
		if err != nil {
			t.Fatal(err)
		}
		drains = append(drains, at)
	}
	for i, least := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second} {
		if pause := drains[i+1] - drains[i]; pause < least {
			t.Errorf("drained again after %v, want at least %v", pause, least)
		}
	}
	testprocess.WaitFor(t, "log line", func() bool { return strings.Contains(d.Log(), "not ready yet") })
}
