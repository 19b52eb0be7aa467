//go:build linux

package integrationtest

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/daemontest/program"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// startWithSlowStderr starts a daemon whose standard error is not read.
func startWithSlowStderr(t *testing.T, env ...string) (*daemontest.Daemon, *daemontest.SlowStderr) {
	t.Helper()
	d := program.New(t)
	for _, kv := range env {
		d.Setenv(kv)
	}
	stderr := d.SlowStderr()
	d.Start()
	return d, stderr
}

func TestFullStderrKeepsNoRestartBack(t *testing.T) {
	d, stderr := startWithSlowStderr(t)
	d.Settled()
	stderr.Fill()
	d.DeployVersion(2)
	d.WantRestart(2)
	d.Settled()
	d.Tell("exec")
	d.WantRestart(2)
	d.DeployBytes([]byte("not an executable"))
	d.DeployVersion(3)
	d.WantRestart(3)
}

// Lines that the exec has cut off are counted.
func TestLinesLostAtRestartAreCounted(t *testing.T) {
	d, stderr := startWithSlowStderr(t)
	d.Settled()
	stderr.Fill()
	d.DeployVersion(2)
	d.WantRestart(2)
	stderr.Read()
	d.WantLogged("log lines lost at the restart")
}

// Ready logs which files are closed, and what follows it does not wait for the line.
func TestFullStderrKeepsNoCallBack(t *testing.T) {
	d, stderr := startWithSlowStderr(t, program.ManualEnv+"=yes")
	d.WantAnswer("pass unclaimed one", "<nil>")
	d.WantAnswer("pass claimed two", "<nil>")
	d.Restart()
	d.WantAnswer("inherit claimed", "two, <nil>")
	d.Tell("watch") // which has a logger
	d.Settled()
	stderr.Fill()
	d.WantAnswer("ready", "")
	d.WantAnswer("pass another three", "<nil>")
	d.WantAnswer("names", "claimed")
	stderr.Read()
	d.WantLogged("file=unclaimed")
}

func TestFullStderrKeepsNoRollbackBack(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, command, timeout, reason string }{
		{"not ready", "", "3s", "it was not ready within 3s"},
		{"Rollback", "fail it is no good", "1m", "it is no good"},
		{"panic", "panic", "1m", "main panicked: with a value that can't be printed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			program.NeedRollback(t)
			d, stderr := startWithSlowStderr(t, program.ReadyEnv+"="+test.timeout)
			d.Settled()
			d.DeployVersion(2)
			d.WantRestart(2)
			stderr.WaitForLine() // of the restart
			d.DeployBytes([]byte("not an executable"))
			stderr.WaitForLine() // of version 2, which has a logger by then
			stderr.Fill()
			if test.command != "" {
				d.Tell(test.command)
			}
			d.NextStart()
			program.WantRolledBack(d, test.reason)
		})
	}
}

// restartLogging does everything with the logger but the exec, and logs that one Drainer
// has not finished.
func restartLogging(t *testing.T, logger autorestart.Logger) {
	t.Helper()
	registerRecorder(t)
	r := restarterCalledOff(t, func() {})
	r.Logger, r.DrainTimeout = logger, -1
	returned := make(chan error, 1)
	go func() { returned <- r.Restart(t.Context()) }()
	if err, _ := testprocess.Receive(t, "return of Restart", returned); !errors.Is(err, errCalledOff) {
		t.Error(err)
	}
}

func TestLoggerThatBlocks(t *testing.T) {
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	for range 2 {
		restartLogging(t, testprocess.LogFunc(func(_, _ string) { <-release }))
	}
}

func TestLoggerThatPanics(t *testing.T) {
	var lines, panics atomic.Int64
	restartLogging(t, testprocess.LogFunc(func(_, _ string) {
		if lines.Add(1) == 1 {
			panics.Add(1)
			panic("this logger panics")
		}
	}))
	testprocess.WaitFor(t, "line after the panic", func() bool { return panics.Load() == 1 && lines.Load() > 1 })
}

// A Logger may call the library.
func TestLoggerThatCallsTheLibrary(t *testing.T) {
	var r autorestart.Restarter
	returned := make(chan error, 1)
	var called atomic.Bool
	r = autorestart.Restarter{Path: "/nonexistent", Logger: testprocess.LogFunc(func(_, _ string) {
		if called.Swap(true) {
			return
		}
		autorestart.Ready()
		autorestart.Unpass("by a logger")
		autorestart.Draining()
		autorestart.RegisterDrainer(&recorder{})()
		r.Mode()
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		returned <- r.Restart(ctx)
	})}
	restartLogging(t, r.Logger)
	if err, _ := testprocess.Receive(t, "return of the logger", returned); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
