package autorestarttest_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart/autorestarttest"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

const served = "./testdata/served"

// needBuilds skips a test that builds programs where it can't.
func needBuilds(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("builds a program")
	}
	testprocess.NeedTool(t, "go")
}

// start starts the daemon of these tests, and returns its URL.
func start(t *testing.T, args ...string) (d *autorestarttest.Daemon, url string) {
	t.Helper()
	needBuilds(t)
	address := autorestarttest.FreeAddress(t)
	d = autorestarttest.Start(t, autorestarttest.Program{
		Package: served,
		Args:    append([]string{"-listen", address}, args...),
	})
	return d, "http://" + address
}

// get returns what the daemon answers.
func get(t *testing.T, d *autorestarttest.Daemon, url string) string {
	t.Helper()
	response, err := d.Client().Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s, %v", response.Status, err)
	}
	return string(body)
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
			if d.Generation() != 2 {
				t.Errorf("generation %d after a restart and a rollback", d.Generation())
			}
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

// A version can be built with other flags than the one before. Both answer with the same PID.
func TestFlagsOfVersion(t *testing.T) {
	t.Parallel()
	d, url := start(t)
	for _, version := range []string{"1", "2", "3"} {
		if version != "1" {
			d.Deploy(autorestarttest.ByRename, "-ldflags=-X main.version="+version)
			d.WantRestart()
		}
		if got, want := get(t, d, url), fmt.Sprintf("version %s, process %d", version, d.PID()); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// After quick deploys, the newest version is the one that runs.
func TestQuickDeploys(t *testing.T) {
	t.Parallel()
	d, url := start(t)
	load := d.Load(url)
	for range 4 {
		for _, way := range autorestarttest.Ways() {
			d.Deploy(way)
		}
		d.WantRestart()
	}
	load.WantNoneLost()
}

// The load may be a function.
func TestLoadFunc(t *testing.T) {
	t.Parallel()
	d, url := start(t)
	load := d.LoadFunc(3, func(ctx context.Context) error {
		request, err := http.NewRequestWithContext(ctx, "GET", url, nil)
		if err != nil {
			return err
		}
		response, err := d.Client().Do(request)
		if err == nil {
			response.Body.Close()
		}
		return err
	})
	d.Deploy(autorestarttest.ByRename)
	d.WantRestart()
	load.WantNoneLost()
	if n := load.Requests(); n < 6 {
		t.Errorf("%d requests", n)
	}
}

// The program calls neither Ready nor anything else but RestartOnChange.
func TestProgramWithoutReady(t *testing.T) {
	t.Parallel()
	needBuilds(t)
	d := autorestarttest.Start(t, autorestarttest.Program{Package: served, Args: []string{"-bare"}, NoReady: true})
	for range 3 {
		d.Deploy(autorestarttest.ByCopy)
		d.WantRestart()
	}
	if err := d.Stop(); err == nil || err.Error() != "signal: terminated" {
		t.Errorf("stopped with %v", err)
	}
	if output := d.Output(); !strings.Contains(output, "took over from the previous version") {
		t.Errorf("output %q", output)
	}
}

// The daemon may have the race detector, which needs gcc.
func TestDaemonWithRaceDetector(t *testing.T) {
	t.Parallel()
	needBuilds(t)
	testprocess.NeedTool(t, "gcc")
	address := autorestarttest.FreeAddress(t)
	d := autorestarttest.Start(t, autorestarttest.Program{Package: served, Flags: []string{"-race"}, Args: []string{"-listen", address}})
	load := d.Load("http://" + address)
	d.Deploy(autorestarttest.ByRename)
	d.WantRestart()
	load.WantNoneLost()
}

// A version that is ready and then fails its own Check is rolled back.
func TestUnhealthyVersion(t *testing.T) {
	t.Parallel()
	d, url := start(t, "-health", "300ms")
	load := d.Load(url)
	d.Deploy(autorestarttest.ByRename, "-ldflags=-X main.version=sick")
	if reason := d.WantRollback(); !strings.Contains(reason, "this version is sick") {
		t.Errorf("rolled back because %s", reason)
	}
	load.WantNoneLost()
}
