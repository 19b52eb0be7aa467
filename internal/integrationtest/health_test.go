//go:build linux

package integrationtest

import (
	"maps"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/daemontest/program"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// A version that is ready and not healthy is rolled back, as if there had been none.
func TestUnhealthyVersionIsRolledBack(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		check  string // what Check does at first
		ask    string // the test of the daemon that is ready
		reason string
	}{
		"error at once":          {"bad", "", "Check failed: no database"},
		"panic of Check":         {"panic", "", "Check panicked: in Check"},
		"error after a while":    {"good", "become-unhealthy", "Check failed: no database"},
		"Rollback":               {"good", "fail it is no good", "it is no good"},
		"Rollback without Check": {"", "fail it is no good", "it is no good"},
	} {
		t.Run(name, func(t *testing.T) {
			d := program.OnHealthTrial(t, time.Hour, test.check)
			d.Tell("become-ready")
			if test.ask != "" {
				d.WantAnswer("generation", "1") // it runs on
				d.Tell(test.ask)
			}
			program.WantRollback(d, test.reason)
			d.WantLogged(program.LoggedFailedBefore)
			d.WantAnswer("failed-generation", "1")
		})
	}
}

// A Check that hangs has 10 s.
func TestHangingCheckIsRolledBack(t *testing.T) {
	t.Parallel()
	if testing.Short() || !daemontest.HaveEvents {
		t.Skip("it takes 11 s")
	}
	d := program.OnHealthTrial(t, time.Hour, "hang")
	d.Tell("become-ready")
	program.WantRollback(d, "Check has not returned within 10s")
}

// A panic of main after Ready rolls back; a main that returns then ends the program.
func TestPanicAfterReady(t *testing.T) {
	d := program.OnHealthTrial(t, time.Hour, "")
	d.Tell("ready-and-panic")
	program.WantRollback(d, "main panicked: after Ready")
}

func TestReturnAfterReadyIsNoFailure(t *testing.T) {
	d := program.OnHealthTrial(t, time.Hour, "good")
	d.WantAnswer("ready", "")
	d.CloseInput()
	if err := d.WaitForEnd(); err != nil {
		t.Error(err)
	}
}

// The descriptors of a version that is healthy are those of one that was never on trial.
func TestHealthyVersionHasNoOtherFiles(t *testing.T) {
	files := func(s daemontest.Status) []string {
		var list []string
		for target := range maps.Values(s.Files) {
			if !strings.HasPrefix(target, "pipe:") {
				list = append(list, target)
			}
		}
		slices.Sort(list)
		return list
	}
	d := program.OnTrial(t, time.Minute)
	d.WantAnswer("ready", "")
	want := files(d.Settled())
	d = program.OnHealthTrial(t, 10*time.Millisecond, "good")
	d.WantLogged("took over") // then its Check is known
	during := files(d.State())
	d.WantAnswer("ready", "")
	testprocess.WaitFor(t, "end of the trial", func() bool { return d.Ask("names", "done") == "" })
	if got := files(d.Settled()); !slices.Equal(shape(got), shape(want)) || len(during) <= len(got) {
		t.Errorf("%q when healthy, on trial %q; %q without such a trial", got, during, want)
	}
	d.WantAnswer("fail too late", autorestart.ErrNoRollback.Error())
	d.WantAnswer("checks", "2") // one at Ready and one at the end
}

// shape returns the targets of descriptors without the directories of daemons.
func shape(targets []string) (names []string) {
	for _, target := range targets {
		names = append(names, path.Base(target))
	}
	return names
}

// A version that is deployed in the meantime does not wait. It rolls back to the one that has shown
// that it works, which gets back what it has handed over.
func TestDeployDuringHealthTrial(t *testing.T) {
	d := program.OnHealthTrial(t, time.Hour, "good")
	d.WantAnswer("get-state counter", "1, true")
	d.WantAnswer("ready", "")
	d.DeployVersion(3)
	d.WantRestart(3)
	if strings.Contains(d.Log(), "waits until this one is ready") {
		t.Error("the deploy has waited")
	}
	d.WantAnswer("names", "pipe") // which version 2 has not claimed
	d.WantAnswer("ready", "")
	d.DeployVersion(4)
	d.WantRestart(4)
	d.WantAnswer("check bad", "")
	d.Tell("become-ready")
	s := d.NextStart()
	if s.Version != 1 {
		t.Errorf("version %d runs", s.Version)
	}
	program.WantRolledBack(d, "Check failed: no database")
	d.WantAnswer("failed-generation", "3")
	d.WantAnswer("get-state counter", "1, true")
	d.WantAnswer("inherit pipe", "one, <nil>")
}

// A rollback that can't be executed for now is tried again.
func TestUnhealthyRollbackIsTriedAgain(t *testing.T) {
	t.Parallel()
	d := program.OnHealthTrial(t, time.Hour, "good")
	d.WantAnswer("ready", "")
	mend := spoilPrevious(d)
	d.WantAnswer("check bad", "")
	d.WantLogged("cannot execute the previous version")
	mend()
	program.WantRollback(d, "Check failed: no database")
}
