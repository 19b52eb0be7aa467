//go:build linux && !autorestart_portable

package systemd_test

import (
	"errors"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart/internal/systemdtest"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// A reloadable is a unit that systemctl reload restarts in place.
type reloadable struct {
	flags, options string        // of the program, and of the unit
	wantFailure    func(*daemon) // reloads a daemon whose new version panics
}

// systemctl reload restarts a daemon under load, returns when the new version is ready, and loses no request.
// With a version that fails the daemon goes on: the command in ExecReload= makes the reload fail, and by SIGHUP alone
// the status says so. systemd reads its units again and executes itself in between, which changes nothing.
func TestReloads(t *testing.T) {
	const command = "/srv/reloads/autorestart"
	installCommand(t, systemdtest.Machine(t), command)
	reloads := testprocess.FromEnv(t, "AUTORESTART_TEST_RELOADS", 12)
	const byCommand = "ExecReload=+" + command + " reload $MAINPID\n"
	const ignored = "ReloadSignal=SIGWINCH\n" // by Go
	for name, unit := range map[string]reloadable{
		"notify":        {"", "Type=notify\n" + byCommand, (*daemon).wantReloadFails},
		"notify-reload": {"", "Type=notify-reload\n" + ignored + byCommand, (*daemon).wantReloadFails},
		"SIGHUP":        {" -sighup", "Type=notify-reload\n", (*daemon).wantReloadRollsBack},
	} {
		t.Run(name, func(t *testing.T) {
			testReloads(t, name, unit, reloads)
		})
	}
}

func testReloads(t *testing.T, name string, unit reloadable, reloads int) {
	d := newCrashing(t, "reloads-"+name, "127.0.0.1:8120 -watch=false"+unit.flags, "FileDescriptorStoreMax=20\n"+unit.options)
	d.address = "127.0.0.1:8120"
	d.started()
	load := d.Load(t, d.network, d.address)
	versions, took, failed := []string{"1", strconv.Itoa(slow)}, []time.Duration(nil), 0
	d.deploy(slow)
	d.reload(slow, func() {
		d.WantLogged(t, d.unit, "msg=waiting generation=1")
		d.WriteFile(t, d.file("go"), 0o644, nil)
	})
	load.Await(t, 8)
	for n := range reloads {
		version := n + 1001 // none of the bad ones
		d.deploy(version)
		took = append(took, d.reload(version, func() {}))
		versions = append(versions, strconv.Itoa(version))
		load.Await(t, 8) // so that the version is seen
		if n%10 == 4 {
			failed++
			d.deploy(panics)
			unit.wantFailure(d)
			if got := d.page("/"); got != strconv.Itoa(version) {
				t.Fatalf("after the failed reload version %s serves, expected %d", got, version)
			}
		}
		switch n % 10 {
		case 2:
			d.Run(t, "systemctl", "daemon-reload")
		case 6:
			d.Reexec(t)
		}
		d.wantUnchanged()
	}
	sent, _ := load.Requests()
	load.Stop(t, versions...)
	t.Logf("%d reloads in %v (median), %v (longest), %d failed ones; lost 0 of %d requests",
		reloads, testprocess.Quantile(took, 0.5), testprocess.Quantile(took, 1), failed, sent)
}

// wantReloadFails reloads a daemon whose unit has the command. The reload fails, and the command says why.
func (d *daemon) wantReloadFails() {
	d.t.Helper()
	line := "autorestart reload: process " + d.pid + ": rolled back: main panicked"
	before := strings.Count(d.Log(d.t, d.unit), line)
	var exit *exec.ExitError
	if output, err := d.Try("systemctl", "reload", d.unit); !errors.As(err, &exit) || exit.ExitCode() != 1 {
		d.t.Errorf("reload with a version that panics: %v\n%s", err, output)
	}
	if n := strings.Count(d.Log(d.t, d.unit), line) - before; n != 1 {
		d.t.Errorf("a failed reload has logged %q %d times", line, n)
	}
}

// wantReloadRollsBack reloads a daemon by SIGHUP alone. The reload succeeds when the version before serves again, and the
// status says why it does.
func (d *daemon) wantReloadRollsBack() {
	d.t.Helper()
	d.Run(d.t, "systemctl", "reload", d.unit)
	d.wantStatus(": the new version was rolled back: main panicked")
}

// A reload is one systemctl reload.
type reload struct {
	returned time.Time
	output   string
	err      error
}

// reload reloads the daemon, which executes a version, and calls a function meanwhile. It returns how long the reload took. That
// must not return before the version is ready.
func (d *daemon) reload(version int, meanwhile func()) time.Duration {
	d.t.Helper()
	start, done := time.Now(), make(chan reload, 1)
	go func() {
		output, err := d.Try("systemctl", "reload", d.unit)
		done <- reload{time.Now(), output, err}
	}()
	meanwhile()
	r, _ := testprocess.Receive(d.t, "end of the reload", done)
	if r.err != nil {
		d.t.Fatalf("reload to version %d: %v\n%s", version, r.err, r.output)
	}
	if got := d.page("/"); got != strconv.Itoa(version) {
		d.t.Fatalf("after the reload version %s serves, expected %d", got, version)
	}
	nanoseconds, err := strconv.ParseInt(d.page("/ready"), 10, 64)
	if ready := time.Unix(0, nanoseconds); err != nil || ready.Before(start) || ready.After(r.returned) {
		d.t.Fatalf("version %d was ready %v after the reload had returned, and %v after it had begun; %v",
			version, ready.Sub(r.returned), ready.Sub(start), err)
	}
	return r.returned.Sub(start)
}
