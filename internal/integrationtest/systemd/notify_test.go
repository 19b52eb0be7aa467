//go:build linux && !autorestart_portable

package systemd_test

import (
	"strconv"
	"strings"
	"testing"

	"github.com/autorestart-go/autorestart/internal/systemdtest"
)

// newNotifier starts an instance of the program in testdata/notifier.
func newNotifier(t *testing.T, name, args, options string) *daemon {
	t.Helper()
	d := &daemon{
		System: systemdtest.Machine(t), t: t,
		program: systemdtest.Build(t, "internal/integrationtest/systemd/testdata/notifier"),
		path:    "/srv/" + name + "/daemon", unit: name + ".service",
	}
	d.deploy(1)
	t.Cleanup(func() { d.Remove(t, "/srv/"+name) })
	d.Unit(t, d.unit, "[Service]\nExecStart="+d.path+" "+args+"\nNotifyAccess=main\n"+options)
	d.Run(t, "systemctl", "start", d.unit)
	d.started()
	return d
}

// wantStatus compares the text of STATUS.
func (d *daemon) wantStatus(text string) {
	d.t.Helper()
	if status := d.Property(d.t, d.unit, "StatusText"); !strings.Contains(status, text) {
		d.t.Errorf("the status is %q, want it to contain %q", status, text)
	}
}

// systemctl reload returns when the new version is ready, also when that was rolled back or rejected.
func TestReload(t *testing.T) {
	d := newNotifier(t, "reloaded", "10ms 50ms", "Type=notify-reload\n")
	d.wantStatus("serves, generation 0")
	generation := 0
	for range 20 {
		generation++
		d.deploy(1 + generation)
		d.Run(t, "systemctl", "reload", d.unit)
		d.wantStatus("serves, generation " + strconv.Itoa(generation))
	}
	d.wantUnchanged()
	d.reloads()
	d.deploy(666)
	d.Run(t, "systemctl", "reload", d.unit)
	generation += 2
	d.wantStatus("serves, generation " + strconv.Itoa(generation) + ": the new version was rolled back: main panicked")
	d.WriteFile(t, d.path, 0o755, []byte("\x7fELF is not all of it"))
	d.Run(t, "systemctl", "reload", d.unit)
	d.wantStatus("serves, generation " + strconv.Itoa(generation) + ": new version rejected: ")
	d.wantUnchanged()
}

// The watchdog survives a drain and a start that take longer than it waits, and ends a service whose check
// fails.
func TestWatchdog(t *testing.T) { // not parallel: the service needs a CPU now and then
	d := newNotifier(t, "watched", "3s 3s", "Type=notify\nWatchdogSec=2\nRestart=no\n")
	d.deploy(2)
	d.Run(t, "systemctl", "kill", "--signal=HUP", d.unit)
	d.wantRestarted(2)
	d.Run(t, "systemctl", "kill", "--signal=USR1", d.unit)
	d.WantLogged(t, d.unit, "Watchdog timeout")
	d.WantState(t, d.unit, "failed")
	if result := d.Property(t, d.unit, "Result"); result != "watchdog" {
		t.Errorf("the result is %s", result)
	}
}
