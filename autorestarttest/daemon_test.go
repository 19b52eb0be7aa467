package autorestarttest_test

import (
	"testing"
	"time"

	"github.com/autorestart-go/autorestart/autorestarttest"
)

const served = "./testdata/served"

// start starts the daemon of these tests, and returns its URL.
func start(t *testing.T, args ...string) (d *autorestarttest.Daemon, url string) {
	t.Helper()
	address := autorestarttest.FreeAddress(t)
	d = autorestarttest.Start(t, autorestarttest.Program{
		Package: served,
		Args:    append([]string{"-listen", address}, args...),
	})
	return d, "http://" + address
}

// Each way to deploy leads to a restart in the same process, in which no request is lost.
func TestWaysToDeploy(t *testing.T) {
	t.Parallel()
	d, url := start(t)
	load := d.Load(url)
	for n, way := range autorestarttest.Ways() {
		d.Deploy(way)
		took := d.WantRestart()
		if d.Generation() != n+1 {
			t.Errorf("generation %d after %d restarts", d.Generation(), n+1)
		}
		t.Logf("%v: %v from the file to the start", way, took.Started.Sub(took.Seen).Round(time.Millisecond))
	}
	load.WantNoneLost()
}

// A version that fails is rolled back, and no request is lost.
func TestFaults(t *testing.T) {
	for _, fault := range []autorestarttest.Fault{autorestarttest.Panics, autorestarttest.Hangs, autorestarttest.NeverReady} {
		t.Run(fault.String(), func(t *testing.T) {
			t.Parallel()
			d, url := start(t)
			load := d.Load(url)
			d.DeployBroken(fault)
			t.Log(d.WantRollback())
			d.Deploy(autorestarttest.ByRename)
			d.WantRestart()
			load.WantNoneLost()
		})
	}
}

// With Overlap, a version that ends its process is rejected, too.
func TestFaultsWithOverlap(t *testing.T) {
	for _, fault := range []autorestarttest.Fault{
		autorestarttest.Panics, autorestarttest.PanicsBeforeMain, autorestarttest.Exits, autorestarttest.Hangs, autorestarttest.NeverReady,
	} {
		t.Run(fault.String(), func(t *testing.T) {
			t.Parallel()
			d, url := start(t, "-overlap")
			load := d.Load(url)
			d.DeployBroken(fault)
			t.Log(d.WantRollback())
			if d.Generation() != 0 {
				t.Errorf("generation %d", d.Generation())
			}
			d.Deploy(autorestarttest.ByRename)
			d.WantRestart()
			load.WantNoneLost()
		})
	}
}
