//go:build linux

package integrationtest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/daemontest/program"
	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// startToPlan starts a daemon that does not watch yet.
func startToPlan(t *testing.T, timeout time.Duration) *daemontest.Daemon {
	t.Helper()
	d := program.New(t)
	d.Cmd.Args = append(d.Cmd.Args, "first", "")
	d.Setenv(program.ManualEnv + "=1")
	d.Setenv("PLANNED=no")
	if timeout != 0 {
		program.NeedRollback(t)
		d.Setenv(program.ReadyEnv + "=" + timeout.String())
	}
	d.Start()
	return d
}

// wantArgs compares the arguments after the name of the program.
func wantArgs(t *testing.T, s daemontest.Status, want ...string) {
	t.Helper()
	var got []string
	for _, arg := range s.Args[1:] {
		got = append(got, string(arg))
	}
	if !slices.Equal(got, want) {
		t.Errorf("version %d: arguments %q, want %q", s.Version, got, want)
	}
}

// wantVariable compares what all variables with that name say.
func wantVariable(t *testing.T, s daemontest.Status, name string, want ...string) {
	t.Helper()
	var got []string
	for _, variable := range s.Env {
		if value, ok := strings.CutPrefix(string(variable), name+"="); ok {
			got = append(got, value)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("version %d: %s is %q, want %q", s.Version, name, got, want)
	}
}

// BeforeExec changes arguments and environment of the next version, which keeps them when it is
// restarted. What is handed over crosses as ever.
func TestPlanChangesNextVersion(t *testing.T) {
	d := startToPlan(t, 0)
	d.WantAnswer("set-state counter 1", "")
	d.WantAnswer("title daemon: idle", "")
	program.WatchWithPlan(d, program.Plan{
		Args: []string{"app", "", "second, %;\n", "\xff"},
		Env:  []string{"PLANNED=yes", "PLANNED=certainly", handover.Env + "=pid=1,", "OTHER="},
	})
	d.DeployVersion(2)
	s := d.WantRestart(2)
	wantArgs(t, s, "", "second, %;\n", "\ufffd") // JSON has no other bytes
	wantVariable(t, s, "PLANNED", "certainly")
	wantVariable(t, s, "OTHER", "")
	d.WantAnswer("get-state counter", "1, true")
	d.WantAnswer("ready", "")
	d.Tell("restart")
	s = d.WantRestart(2)
	wantArgs(t, s, "", "second, %;\n", "\ufffd")
	wantVariable(t, s, "PLANNED", "certainly")
}

// A rollback executes the previous version with its own arguments and environment.
func TestRollbackUndoesPlan(t *testing.T) {
	d := startToPlan(t, time.Minute)
	first := d.Last
	program.WatchWithPlan(d, program.Plan{Args: []string{"app", "second"}, Env: []string{"PLANNED=yes", "A=1,pid=2,"}})
	d.DeployVersion(2)
	s := d.WantRestart(2)
	wantArgs(t, s, "second")
	wantVariable(t, s, "A", "1,pid=2,")
	d.Tell("fail it is no good")
	wantRolledBackTo(d, first)
}

// wantRolledBackTo waits until version 1 runs again as it was started first.
func wantRolledBackTo(d *daemontest.Daemon, first daemontest.Status) {
	d.T.Helper()
	s := d.NextStart()
	if s.Version != 1 {
		d.T.Errorf("version %d runs", s.Version)
	}
	wantSameStart(d, first)
}

// Also if a third version is deployed while the second is on trial, whatever the second has
// planned, and what it has put into its environment.
func TestKeptRollbackUndoesPlan(t *testing.T) {
	for name, plans := range map[string][2]program.Plan{
		"both":   {{Args: []string{"app", "second"}, Env: []string{"PLANNED=yes"}}, {Args: []string{"app", "third"}, Env: []string{"PLANNED=again"}}},
		"first":  {{Args: []string{"app", "second"}, Env: []string{"PLANNED=yes"}}, {}},
		"second": {{}, {Args: []string{"app", "third"}, Env: []string{"PLANNED=again"}}},
		"none":   {},
	} {
		t.Run(name, func(t *testing.T) {
			d := startToPlan(t, time.Minute)
			first := d.Last
			program.WatchWithPlan(d, plans[0])
			d.DeployVersion(2)
			d.WantRestart(2)
			d.WantAnswer("fill-env OF_SECOND 1", "<nil>")
			program.WatchWithPlan(d, plans[1])
			d.DeployVersion(3)
			d.WantRestart(3)
			d.Tell("fail it is no good")
			wantRolledBackTo(d, first)
		})
	}
}

// A version that the plan has hang before its main is rolled back to one that does not.
func TestHangByPlan(t *testing.T) {
	d := startToPlan(t, 200*time.Millisecond)
	first := d.Last
	program.WatchWithPlan(d, program.Plan{Args: []string{"app"}, Env: []string{program.HangEnv + "=1"}})
	d.DeployVersion(2)
	wantRolledBackTo(d, first)
	program.WantRolledBack(d, "it was not ready within 200ms")
}

// A plan that no exec can take calls the restart off. The error says what is wrong.
func TestImpossiblePlan(t *testing.T) {
	for want, change := range map[string]func(plan *autorestart.ExecPlan){
		"found an ExecPlan with no arguments, expected one with the name of the program, at least": func(plan *autorestart.ExecPlan) { plan.Args = nil },
		"found an ExecPlan with a NUL byte in argument 1, expected one with text alone":            func(plan *autorestart.ExecPlan) { plan.Args = []string{"app", "a\x00b"} },
		`found an ExecPlan with a NUL byte in the variable "A",`: func(plan *autorestart.ExecPlan) {
			plan.Env = append(plan.Env, "A=a\x00b")
		},
		`found an ExecPlan with the variable "# comment", expected one with variables of the form NAME=value`: func(plan *autorestart.ExecPlan) {
			plan.Env = append(plan.Env, "# comment")
		},
		`found an ExecPlan with the variable "=a",`: func(plan *autorestart.ExecPlan) { plan.Env = append(plan.Env, "=a") },
		"found an ExecPlan with too much for execve(2) (argument 1 would take 131073 bytes": func(plan *autorestart.ExecPlan) {
			plan.Args = []string{"app", strings.Repeat("x", 128<<10)}
		},
	} {
		r := restarterCalledOff(t, func() {})
		r.BeforeExec = func(_ context.Context, plan *autorestart.ExecPlan) error { change(plan); return nil }
		if strings.Contains(want, "execve(2)") && !daemontest.HaveEvents {
			continue // the limits are those of Linux
		}
		err := r.Restart(t.Context())
		rejected, ok := errors.AsType[*autorestart.RejectedError](err)
		if !ok || rejected.Retryable || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
		if tooLong := strings.Contains(want, "execve(2)"); errors.Is(err, syscall.E2BIG) != tooLong {
			t.Errorf("%v is E2BIG: %t", err, !tooLong)
		}
	}
}

// The plan says for which version it is, and what would be executed.
func TestPlanTellsTheCandidate(t *testing.T) {
	path := filepath.Join(testprocess.MemoryDir(t), "app")
	testprocess.WriteExecutable(t, path, daemontest.Image(t, 2))
	t.Setenv("PLANNED", "no")
	var got autorestart.ExecPlan
	r := autorestart.Restarter{Path: path, BeforeExec: func(_ context.Context, plan *autorestart.ExecPlan) error {
		got = *plan
		clear(plan.Args) // which are not those of the process
		return errCalledOff
	}}
	for range 2 {
		if err := r.Restart(t.Context()); err != errCalledOff {
			t.Fatal(err)
		}
	}
	if got.Path != path || got.Old.ID == "" || got.Old != got.New {
		t.Errorf("of %s, from %+v to %+v; want %s and two equal builds", got.Path, got.Old, got.New, path)
	}
	got = autorestart.ExecPlan{}
	r.BeforeExec = func(_ context.Context, plan *autorestart.ExecPlan) error { got = *plan; return errCalledOff }
	if err := r.Restart(t.Context()); err != errCalledOff || !slices.Equal(got.Args, os.Args) || !slices.Equal(got.Env, os.Environ()) {
		t.Errorf("%v, args %q, env %q", err, got.Args, got.Env)
	}
}
