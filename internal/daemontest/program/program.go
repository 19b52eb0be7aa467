//go:build linux

// Package program is the daemon of most tests: it restarts itself as soon as a new
// version is deployed, and executes the commands of its test. Variables of the
// environment and the number of its version change how it behaves.
package program

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/daemontest/hang"
	"github.com/autorestart-go/autorestart/internal/image"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// Name is the daemon's name. Register it with [daemontest.Main].
const Name = "daemon"

// Variables of the daemon's environment.
const (
	ManualEnv = "AUTORESTART_TEST_MANUAL" // set: watch only when told to
	PollEnv   = "AUTORESTART_TEST_POLL"   // set: poll at the pace of RestartOnChange
	VerifyEnv = "AUTORESTART_TEST_VERIFY" // set: ask the test about each version
	ReadyEnv  = "AUTORESTART_TEST_READY"  // a ReadyTimeout
	HealthEnv = "AUTORESTART_TEST_HEALTH" // a HealthTimeout
	CheckEnv  = "AUTORESTART_TEST_CHECK"  // what Check does at first, see checks
	PathEnv   = "AUTORESTART_TEST_PATH"   // the Path to watch
	LogEnv    = "AUTORESTART_TEST_LOG"    // set: an exec waits until all lines are written
	GateEnv   = "AUTORESTART_TEST_GATE"   // set: a Gate that asks the test; "verify": and a Verify that accepts all
	HangEnv   = hang.Env                  // set: a version on trial hangs before its main
	stdinEnv  = "AUTORESTART_TEST_STDIN"  // the descriptor of standard input, unless it is 0
)

// New prepares the daemon.
func New(t testing.TB) *daemontest.Daemon {
	t.Helper()
	return daemontest.New(t, Name)
}

// Main is the main function of the daemon.
func Main() {
	defer autorestart.RollbackUnlessReady()
	if fd, err := strconv.Atoi(os.Getenv(stdinEnv)); err == nil {
		os.Stdin = os.NewFile(uintptr(fd), "stdin")
	}
	if misbehave(daemontest.Version()) {
		return
	}
	if os.Getenv(LogEnv) != "" {
		image.Current().LogTime = testprocess.Timeout
	}
	switch {
	case os.Getenv(VerifyEnv) != "":
		go verify()
	case os.Getenv(ManualEnv) == "":
		go watch()
	}
	daemontest.Obey(new(autorestart.Restarter), commands)
}

// pollInterval is how often the daemon polls where it has no events. The pace of
// RestartOnChange would take minutes.
func pollInterval() time.Duration {
	if daemontest.HaveEvents {
		return 0
	}
	return 10 * time.Millisecond
}

func logger() autorestart.Logger {
	return slog.New(slog.NewTextHandler(os.Stderr, nil))
}

// watch is RestartOnChange where the environment does not ask for anything else.
func watch() {
	timeout, _ := time.ParseDuration(os.Getenv(ReadyEnv))
	healthTimeout, _ := time.ParseDuration(os.Getenv(HealthEnv))
	path := os.Getenv(PathEnv)
	observe := observer()
	if timeout == 0 && healthTimeout == 0 && path == "" && observe == nil && changedPlan.Load() == nil && os.Getenv(GateEnv) == "" && (daemontest.HaveEvents || os.Getenv(PollEnv) != "") {
		autorestart.RestartOnChange()
	}
	r := autorestart.Restarter{Path: path, Logger: logger(), ReadyTimeout: timeout, PollInterval: pollInterval()}
	r.HealthTimeout, r.Observe = healthTimeout, observe
	if kind := os.Getenv(CheckEnv); kind != "" {
		checks.CompareAndSwap(nil, &kind)
		r.Check = check
	}
	if changedPlan.Load() != nil {
		r.BeforeExec = changePlan
	}
	if os.Getenv(GateEnv) != "" {
		r.Gate = testGate{}
	}
	if os.Getenv(GateEnv) == "verify" {
		r.Verify = func(context.Context, *os.File) error { return nil }
	}
	if err := r.Run(context.Background()); err != nil {
		panic(err)
	}
}

// verdicts are the answers of the test: empty for a version that is accepted.
var verdicts = make(chan string)

// verify restarts by a Restarter whose Verify asks the test.
func verify() {
	r := autorestart.Restarter{
		Logger:       logger(),
		PollInterval: pollInterval(),
		Verify: func(ctx context.Context, exe *os.File) error {
			daemontest.Say("verifying", exe.Name())
			if verdict := <-verdicts; verdict != "" {
				return errors.New(verdict)
			}
			return nil
		},
	}
	r.Run(context.Background())
}
