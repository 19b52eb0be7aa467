//go:build linux && !autorestart_portable

// Package systemd_test has the tests of daemons that systemd starts, as process 1 of a machine of their own.
package systemd_test

import (
	"errors"
	"maps"
	"slices"
	"strconv"
	"syscall"
	"testing"

	"github.com/autorestart-go/autorestart/internal/systemdtest"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// The versions that differ from the others.
const (
	fewer  = 502 // does not listen at the last address
	panics = 666 // panics
	plain  = 700 // does not use package systemd
)

func TestMain(m *testing.M) { testprocess.Main(m) }

// A daemon is an instance of the program in testdata/daemon, in a unit.
type daemon struct {
	*systemdtest.System
	t *testing.T

	program          *systemdtest.Program
	path             string // of the executable
	unit             string // with .service
	network, address string
	pid, group       string // of the unit when it was started
}

// newDaemon deploys the first version of a daemon with that name. Its unit is to be written and started.
func newDaemon(t *testing.T, name, network, address string) *daemon {
	t.Helper()
	d := &daemon{
		System: systemdtest.Machine(t), t: t,
		program: systemdtest.Build(t, "internal/integrationtest/systemd/testdata/daemon"),
		path:    "/srv/" + name + "/server", unit: name + ".service", network: network, address: address,
	}
	d.deploy(1)
	t.Cleanup(func() { d.Remove(t, "/srv/"+name) })
	return d
}

func (d *daemon) deploy(version int) {
	d.t.Helper()
	d.Deploy(d.t, d.path, d.program, version)
}

// service is the text of a unit.
func (d *daemon) service(options string) string {
	return "[Service]\nExecStart=" + d.path + " -network=" + d.network + " -address=" + d.address + "\n" + options
}

// started waits until the first version serves.
func (d *daemon) started() {
	d.t.Helper()
	d.WantLogged(d.t, d.unit, "serving version=1")
	d.known()
}

// known notes what wantUnchanged compares with.
func (d *daemon) known() {
	d.t.Helper()
	properties := d.Properties(d.t, d.unit, "MainPID", "ControlGroup")
	d.pid, d.group = properties["MainPID"], properties["ControlGroup"]
}

// wantRestarted waits until a version serves, in the process that systemd has started.
func (d *daemon) wantRestarted(version int) {
	d.t.Helper()
	d.WantLogged(d.t, d.unit, "serving version="+strconv.Itoa(version)+" ")
	d.wantUnchanged()
}

// wantUnchanged compares the unit with what it was when it was started.
func (d *daemon) wantUnchanged() {
	d.t.Helper()
	want := map[string]string{
		"MainPID": d.pid, "ControlGroup": d.group, "NRestarts": "0", "ActiveState": "active", "SubState": "running",
	}
	if got := d.Properties(d.t, d.unit, slices.Collect(maps.Keys(want))...); !maps.Equal(got, want) {
		d.t.Errorf("%s is %q, expected %q", d.unit, got, want)
	}
}

// reloads has systemd read its units again, and execute itself.
func (d *daemon) reloads() {
	d.t.Helper()
	d.Run(d.t, "systemctl", "daemon-reload")
	d.wantUnchanged()
	d.Reexec(d.t)
	d.wantUnchanged()
}

// A deploy restarts a service in place: to systemd nothing has happened.
func TestServiceRestartsInPlace(t *testing.T) {
	d := newDaemon(t, "simple", "tcp", "127.0.0.1:8001")
	d.Unit(t, d.unit, d.service(""))
	d.Run(t, "systemctl", "start", d.unit)
	d.started()
	load := d.Load(t, d.network, d.address)
	d.deploy(2)
	d.wantRestarted(2)
	load.Await(t, 8) // so that the version is seen
	d.reloads()
	d.deploy(3)
	d.wantRestarted(3)
	load.Await(t, 20)
	load.Stop(t, "1", "2", "3")
	d.Run(t, "systemctl", "status", d.unit) // succeeds if the unit is active
}

// A version that fails is rolled back, and the service stays active.
func TestServiceIsRolledBack(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, "rolledback", "unix", "/run/rolledback/sock")
	d.Unit(t, d.unit, d.service("RuntimeDirectory=rolledback\n"))
	d.Run(t, "systemctl", "start", d.unit)
	d.started()
	load := d.Load(t, d.network, d.address)
	d.deploy(panics)
	d.WantLogged(t, d.unit, "serving version=1 generation=2")
	d.wantUnchanged()
	d.deploy(2)
	d.wantRestarted(2)
	load.Await(t, 20)
	load.Stop(t, "1", "2")
}

// A service with a socket unit restarts in place, too. Its clients wait in the queue of that socket while
// systemd stops the service and starts it again.
func TestActivatedServiceRestartsInPlace(t *testing.T) {
	for name, test := range map[string]struct{ network, address, options string }{
		"tcp":         {"tcp", "127.0.0.1:8002", ""},
		"unix":        {"unix", "/run/activated.sock", ""},
		"PrivatePIDs": {"tcp", "127.0.0.1:8004", "PrivatePIDs=yes\n"}, // LISTEN_PID is another PID there
	} {
		t.Run(name, func(t *testing.T) {
			d := newDaemon(t, "activated-"+name, test.network, test.address)
			socket := "activated-" + name + ".socket"
			d.Unit(t, d.unit, d.service(test.options))
			d.Unit(t, socket, "[Socket]\nListenStream="+test.address+"\n")
			d.Run(t, "systemctl", "start", socket)
			load := d.Load(t, d.network, d.address) // starts the service
			d.started()
			d.deploy(2)
			d.wantRestarted(2)
			d.reloads()
			d.deploy(3)
			d.wantRestarted(3)
			load.Await(t, 20)
			load.Stop(t, "1", "2", "3")
			restarted(t, d)
		})
	}
}

// restarted has systemd restart an activated service under load. Requests that the service has accepted may
// be cut off.
func restarted(t *testing.T, d *daemon) {
	t.Helper()
	load := d.Load(t, d.network, d.address)
	d.Run(t, "systemctl", "restart", d.unit)
	if pid := d.Property(t, d.unit, "MainPID"); pid == d.pid {
		t.Errorf("the PID is still %s", pid)
	}
	load.Await(t, 20)
	_, lost := load.Requests()
	for _, err := range lost {
		if errors.Is(err, syscall.ECONNREFUSED) {
			t.Error(err)
		}
	}
	load = d.Load(t, d.network, d.address)
	load.Await(t, 20)
	load.Stop(t, "3")
}
