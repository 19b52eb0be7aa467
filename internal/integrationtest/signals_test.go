//go:build linux

package integrationtest

import (
	"syscall"
	"testing"

	"github.com/autorestart-go/autorestart/internal/daemontest/program"
)

// SIGHUP, sent as fast as possible, ends no version while others that subscribe to it
// follow.
func TestSignalsDuringRestart(t *testing.T) {
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
	for version := range 50 {
		d.DeployVersion(program.Subscribes + version)
		d.WantRestart(program.Subscribes + version)
	}
	close(stop)
	t.Logf("%d signals during 50 restarts", <-stopped)
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
