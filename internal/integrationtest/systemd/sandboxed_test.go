//go:build linux && !autorestart_portable

package systemd_test

import (
	"strings"
	"testing"
)

// A filter that ends the process at the calls that set the scheduling of a thread ends no restart, also if
// the main thread differs from all others.
func TestServiceUnderFilterOfScheduling(t *testing.T) {
	t.Parallel()
	for name, options := range map[string]string{
		"alike":       "Nice=5\nCPUAffinity=0\n",
		"resetonfork": "CPUSchedulingPolicy=batch\nCPUSchedulingResetOnFork=yes\n",
		"reniced":     "",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDaemon(t, "filtered-"+name, "unix", "/run/filtered-"+name+"/sock")
			d.Unit(t, d.unit, d.service("RuntimeDirectory=filtered-"+name+"\nSystemCallFilter=~@resources\n"+options))
			d.Run(t, "systemctl", "start", d.unit)
			d.started()
			load := d.Load(t, d.network, d.address)
			if name == "reniced" {
				d.Run(t, "renice", "-n", "7", "-p", d.pid)
			}
			d.deploy(666) // which panics
			d.WantLogged(t, d.unit, "serving version=1 generation=2")
			for version := 2; version < 5; version++ {
				d.deploy(version)
				d.wantRestarted(version)
				load.Await(t, 8) // so that the version is seen
			}
			load.Await(t, 20)
			load.Stop(t, "1", "2", "3", "4")
		})
	}
}

// With PrivatePIDs=, LISTEN_PID is a PID outside of the namespace of the service.
func TestActivatedServiceWithPrivatePIDs(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, "privatepids", "unix", "/run/privatepids.sock")
	socket := "privatepids.socket"
	d.Unit(t, d.unit, d.service("PrivatePIDs=yes\n"))
	d.Unit(t, socket, "[Socket]\nListenStream="+d.address+"\n")
	d.Run(t, "systemctl", "start", socket)
	load := d.Load(t, d.network, d.address) // starts the service
	d.started()
	for version := 2; version < 4; version++ {
		d.deploy(version)
		d.wantRestarted(version)
		load.Await(t, 8) // so that the version is seen
	}
	load.Await(t, 20)
	load.Stop(t, "1", "2", "3")
	if log := d.Log(t, d.unit); strings.Contains(log, "LISTEN_FDS") {
		t.Errorf("logged: %s", log)
	}
}

// A deploy does not change a file that is mounted by itself. The service says so when it starts.
func TestServiceFromMountedFile(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, "mountedfile", "unix", "/run/mountedfile/sock")
	const inside = "/opt/server"
	unit := strings.Replace(d.service("RuntimeDirectory=mountedfile\n"), d.path, inside, 1)
	d.Unit(t, d.unit, unit+"BindReadOnlyPaths="+d.path+":"+inside+"\n")
	d.Run(t, "systemctl", "start", d.unit)
	d.started()
	d.WantLogged(t, d.unit, "a version that is renamed over the executable will not be noticed: the file is mounted by itself")
}
