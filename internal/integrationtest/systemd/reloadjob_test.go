//go:build linux && !autorestart_portable

package systemd_test

import (
	"errors"
	"os/exec"
	"path"
	"strings"
	"testing"

	"github.com/autorestart-go/autorestart/internal/systemdtest"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// execReload returns the line of a unit by which systemctl reload runs the command, which it puts beside the executable
// of a daemon of that name.
func execReload(t *testing.T, name string) string {
	t.Helper()
	command := "/srv/" + name + "/autorestart"
	installCommand(t, systemdtest.Machine(t), command)
	return "ExecReload=+" + command + " reload $MAINPID\n"
}

// hold has the daemon wait at a point of its program, until the function is called.
func (d *daemon) hold(point string) (release func()) {
	d.t.Helper()
	file := path.Join(path.Dir(d.path), "hold-"+point)
	d.WriteFile(d.t, file, 0o644, nil)
	return func() {
		d.t.Helper()
		d.Remove(d.t, file)
	}
}

// systemctl begins a command about the unit, and returns its result.
func (d *daemon) systemctl(command string) (result <-chan error) {
	c := make(chan error, 1)
	go func() {
		output, err := d.Try("systemctl", command, d.unit)
		if err != nil {
			err = errors.New(command + ": " + err.Error() + ": " + output)
		}
		c <- err
	}()
	return c
}

// reloadFails reloads into a version that fails.
func (d *daemon) reloadFails() {
	d.t.Helper()
	d.deploy(panics)
	var exit *exec.ExitError
	if output, err := d.Try("systemctl", "reload", d.unit); !errors.As(err, &exit) || exit.ExitCode() != 1 {
		d.t.Fatalf("reload with a version that panics: %v\n%s", err, output)
	}
	d.wantUnchanged()
}

// A drain and a start that take longer than TimeoutStartSec extend the time of a reload.
func TestReloadTakesLonger(t *testing.T) { // not parallel: systemd forgets extensions when it reads its units again
	services := []*daemon{
		newNotifier(t, "longer-signal", "3s 3s", "Type=notify-reload\nTimeoutStartSec=2s\n"),
		newNotifier(t, "longer-command", "3s 3s", "Type=notify\nTimeoutStartSec=2s\n"+execReload(t, "longer-command")),
		newNotifier(t, "longer-both", "3s 3s", "Type=notify-reload\nTimeoutStartSec=2s\n"+execReload(t, "longer-both")),
	}
	var reloads []<-chan error
	for _, d := range services {
		d.deploy(2)
		reloads = append(reloads, d.systemctl("reload"))
	}
	for i, d := range services {
		if err, _ := testprocess.Receive(t, "end of the reload", reloads[i]); err != nil {
			t.Error(err)
		}
		d.wantStatus("serves, generation ")
		d.wantRestarted(2)
	}
}

// With both SIGHUP and ExecReload, the command joins the restart of the signal or requests another one, and returns the
// outcome.
func TestReloadBySignalAndCommand(t *testing.T) {
	d := newNotifier(t, "both", "1ms 1ms", "Type=notify-reload\n"+execReload(t, "both"))
	for version := 2; version < 12; version++ {
		d.deploy(version)
		d.Run(t, "systemctl", "reload", d.unit)
		d.wantRestarted(version)
		d.wantStatus("serves, generation ")
		d.reloadFails()
		d.wantStatus("main panicked")
	}
}

// In a unit without a notify socket, the command works, too.
func TestReloadWithoutNotifySocket(t *testing.T) {
	d := newNotifier(t, "simple-reload", "1ms 1ms", "Type=simple\nNotifyAccess=none\n"+execReload(t, "simple-reload"))
	d.WantLogged(t, d.unit, "msg=serving")
	if environment := d.Run(t, "cat", "/proc/"+d.pid+"/environ"); strings.Contains(environment, "NOTIFY_SOCKET=") {
		t.Fatalf("the environment is %q", environment)
	}
	d.deploy(2)
	d.Run(t, "systemctl", "reload", d.unit)
	d.wantRestarted(2)
	d.reloadFails()
}

// A SIGHUP that is lost in an exec needs no restart of its own: the version that is executed answers the reload.
func TestReloadIsLostInExec(t *testing.T) {
	d := newNotifier(t, "lost", "0s 0s", "Type=notify-reload\n")
	release := d.hold("exec")
	d.deploy(2)
	d.Run(t, "systemctl", "kill", "--kill-whom=main", "--signal=HUP", d.unit)
	d.WantLogged(t, d.unit, "msg=waiting file=hold-exec")
	reload := d.systemctl("reload")
	testprocess.WaitFor(t, "signal", func() bool { return d.Property(t, d.unit, "SubState") == "reload-signal" })
	release()
	if err, _ := testprocess.Receive(t, "end of the reload", reload); err != nil {
		t.Fatal(err)
	}
	d.wantRestarted(2)
	d.wantStatus("serves, generation 1")
}

// A reload that is requested during another one comes after it.
func TestReloadWhileReloading(t *testing.T) {
	for _, point := range []string{"drain", "start"} {
		t.Run(point, func(t *testing.T) {
			d := newNotifier(t, "again-"+point, "1ms 0s", "Type=notify-reload\n")
			release := d.hold(point)
			d.deploy(500)
			first := d.systemctl("reload")
			d.WantLogged(t, d.unit, "msg=waiting file=hold-"+point)
			second := d.systemctl("reload")
			testprocess.WaitFor(t, "second reload", func() bool {
				return strings.Contains(d.Run(t, "systemctl", "list-jobs", "--no-legend"), d.unit+" reload waiting")
			})
			release()
			for _, reload := range []<-chan error{first, second} {
				if err, _ := testprocess.Receive(t, "end of the reload", reload); err != nil {
					t.Error(err)
				}
			}
			d.wantStatus("serves, generation 2")
			d.wantUnchanged()
		})
	}
}
