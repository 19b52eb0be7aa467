//go:build linux

package integrationtest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/daemontest/program"
)

// What an exec needs is there before anything is drained: the daemon itself, or its clients,
// may take the last descriptor meanwhile.
func TestTableFullBeforeExec(t *testing.T) {
	for _, env := range []string{"", "without-memfd"} {
		t.Run(env, func(t *testing.T) {
			if env != "" && !daemontest.HaveEvents {
				t.Skip("no memfd here")
			}
			d := startWithSmallTable(t)
			d.WantAnswer("pass pipe one", "<nil>")
			d.WantAnswer("set-big-state big 300000", "<nil>") // no variable has room for it
			d.Tell("restart-full " + env)
			d.WantRestart(1)
			d.WantAnswer("get-state big", "300000 bytes")
			d.WantAnswer("inherit pipe", "one, <nil>")
		})
	}
}

// A version on trial whose next version is no good is rolled back to its predecessor.
func TestTableFullOnTrial(t *testing.T) {
	program.NeedRollback(t)
	d := startWithSmallTable(t)
	for version := 2; version < 4; version++ {
		d.DeployVersion(version)
		d.Tell("restart-full")
		d.WantRestart(version)
	}
	d.Tell("fail it is no good")
	if s := d.NextStart(); s.Version != 1 {
		t.Errorf("version %d runs again", s.Version)
	}
}

// With whatever number of descriptors that are free, either the daemon restarts, or nothing
// was drained for it.
func TestNothingIsDrainedInVain(t *testing.T) {
	t.Parallel()
	d := startWithSmallTable(t)
	restarted, failed := 0, 0
	for free := 0; restarted == 0; free++ {
		d.WantAnswer("tell-directory", "")
		d.Tell(fmt.Sprint("restart-with-free ", free))
		event, text := d.Next()
		if event == "done" {
			failed++
			if !strings.Contains(text, "too many open files") {
				t.Errorf("%d free: %s", free, text)
			}
			continue
		}
		for event == "quiesced" { // by each of the drainers
			event, text = d.Next()
		}
		if event != "start" {
			t.Errorf("with %d free descriptors it was drained in vain: %s %s", free, event, text)
			continue
		}
		restarted++
	}
	if failed == 0 {
		t.Error("no number of descriptors was too small: this test proves nothing")
	}
}

// startWithSmallTable starts a daemon that watches nothing, and may open few files.
func startWithSmallTable(t *testing.T) *daemontest.Daemon {
	d := program.New(t)
	d.Cmd.Path = "/bin/sh"
	d.Cmd.Args = []string{"sh", "-c", `ulimit -n 300; exec "$0"`, d.Path}
	d.Setenv(program.ManualEnv + "=1")
	d.Start()
	return d
}
