//go:build linux

package integrationtest

import (
	"syscall"
	"testing"

	"github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/daemontest/program"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// SIGHUP, sent as fast as possible, ends no version while others that subscribe to it
// follow.
func TestSignalsDuringRestart(t *testing.T) {
	t.Parallel()
	program.NeedRollback(t) // elsewhere signals keep their default action
	d := program.New(t)
	d.Start()
	d.WantAnswer("subscribe 1", "<nil>")
	stop := make(chan struct{})
	stopped := make(chan int)
	go func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				stopped <- n
				return
			default:
				syscall.Kill(d.PID(), syscall.SIGHUP)
			}
		}
	}()
	for version := range 15 {
		d.DeployVersion(program.Subscribes + version)
		d.WantRestart(program.Subscribes + version)
	}
	close(stop)
	t.Logf("%d signals during 15 restarts", <-stopped)
}

// A signal that the version before subscribed to is ignored in the next one until that
// is ready. Then it has its default action.
func TestSignalsAreIgnoredUntilReady(t *testing.T) {
	program.NeedRollback(t) // elsewhere signals keep their default action
	for _, ends := range []syscall.Signal{syscall.SIGHUP, syscall.SIGTERM} {
		t.Run(ends.String(), func(t *testing.T) {
			d := program.New(t)
			d.Start()
			before := d.Ask("ignored", "done")
			d.WantAnswer("subscribe 1", "<nil>")
			d.DeployVersion(2)
			d.WantRestart(2)
			if d.Ask("ignored", "done") == before {
				t.Error("nothing is ignored after the exec")
			}
			// The signal must not end a version that restarts before it has subscribed.
			d.DeployVersion(3)
			d.WantRestart(3)
			syscall.Kill(d.PID(), syscall.SIGHUP)
			if ends == syscall.SIGHUP {
				d.WantAnswer("ready", "")
				d.WantAnswer("ignored", before)
			}
			syscall.Kill(d.PID(), ends)
			if err := d.WaitForEnd(); err == nil || err.Error() != "signal: "+ends.String() {
				t.Errorf("it ended with %v", err)
			}
		})
	}
}

const hangup = uint64(1) << (syscall.SIGHUP - 1)

// nextWindow restarts a daemon into a version, and returns what that finds.
func nextWindow(d *daemontest.Daemon, version int) (w window) {
	d.T.Helper()
	wait := daemontest.AtExec(d.T, d.PID(), func() { w = windowOf(d) })
	d.DeployVersion(version)
	wait()
	d.WantRestart(version)
	return w
}

// wantEndsBy checks that a signal ends a daemon.
func wantEndsBy(d *daemontest.Daemon, sig syscall.Signal) {
	d.T.Helper()
	d.Signal(sig)
	if err := d.WaitForEnd(); err == nil || err.Error() != "signal: "+sig.String() {
		d.T.Errorf("it ended with %v", err)
	}
}

// TestStopNotify: a signal is ignored in the next exec as long as there is a channel for it.
func TestStopNotify(t *testing.T) {
	program.NeedRollback(t)
	d := program.New(t)
	d.Start()
	before := d.Ask("ignored", "done")
	d.WantAnswer("subscribe 1", "<nil>")
	d.WantAnswer("subscribe 1", "<nil>")
	d.WantAnswer("unsubscribe", "")
	if nextWindow(d, 2).ignored&hangup == 0 {
		t.Error("SIGHUP is not ignored, and one channel is left")
	}
	d.WantAnswer("subscribe 1", "<nil>")
	d.WantAnswer("unsubscribe", "")
	d.WantAnswer("ignored", before) // although it is not ready
	if nextWindow(d, 3).ignored&hangup != 0 {
		t.Fatal("SIGHUP is ignored, and no channel is left")
	}
	wantEndsBy(d, syscall.SIGHUP)
}

// TestStopNotifyKeepsIgnore: StopNotify does not undo what the program does by itself.
func TestStopNotifyKeepsIgnore(t *testing.T) {
	program.NeedRollback(t)
	d := program.New(t)
	d.Start()
	d.WantAnswer("subscribe 1", "<nil>")
	d.WantAnswer("ignore-hangup", "")
	d.WantAnswer("unsubscribe", "")
	d.Signal(syscall.SIGHUP)
	d.WantAnswer("generation", "0")
}

// TestNotifyOfAllSignals: without a signal, Notify is about every one.
func TestNotifyOfAllSignals(t *testing.T) {
	program.NeedRollback(t)
	d := program.New(t)
	d.Start()
	d.WantAnswer("subscribe ", "")
	w := nextWindow(d, 2)
	for _, test := range []struct {
		sig     syscall.Signal
		ignored bool
	}{
		{syscall.SIGHUP, true}, {syscall.SIGTSTP, true}, {syscall.SIGUSR1, true},
		{syscall.SIGTERM, false}, {syscall.SIGINT, false}, {syscall.SIGQUIT, false}, {syscall.SIGABRT, false},
		{syscall.SIGCHLD, false}, {32, false}, {33, false}, {34, false},
		{syscall.SIGSEGV, false}, {syscall.SIGBUS, false}, {syscall.SIGFPE, false}, {syscall.SIGILL, false},
	} {
		if ignored := w.ignored>>(test.sig-1)&1 == 1; ignored != test.ignored {
			t.Errorf("signal %d (%v): ignored is %t, want %t", test.sig, test.sig, ignored, test.ignored)
		}
	}
}

// TestIgnoredAtStart: what was ignored when the process was started, as by nohup(1), is ignored
// again in a version that does not subscribe to it, also after a rollback.
func TestIgnoredAtStart(t *testing.T) {
	program.NeedRollback(t)
	d := program.New(t)
	testprocess.NeedTool(t, "sh")
	d.Cmd.Path = "/bin/sh"
	d.Cmd.Args = []string{"sh", "-c", `trap "" HUP; exec "$0"`, d.Path}
	d.Setenv(program.ReadyEnv + "=1m")
	d.Start()
	before := d.Ask("ignored", "done")
	wantSurvives := func() {
		t.Helper()
		d.WantAnswer("ignored", before)
		d.Signal(syscall.SIGHUP)
	}
	d.WantAnswer("subscribe 1", "<nil>")
	d.WantAnswer("unsubscribe", "")
	wantSurvives()
	d.WantAnswer("subscribe 1", "<nil>")
	d.DeployVersion(2)
	d.WantRestart(2)
	d.WantAnswer("subscribe 1", "<nil>")
	d.WantAnswer("unsubscribe", "")
	wantSurvives()
	d.WantAnswer("subscribe 1", "<nil>")
	d.Tell("fail it is a test")
	d.NextStart()
	d.WantAnswer("ready", "")
	wantSurvives()
	d.DeployVersion(3)
	d.WantRestart(3)
	d.WantAnswer("ready", "")
	wantSurvives()
	d.WantAnswer("generation", "3")
}
