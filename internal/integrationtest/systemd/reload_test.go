//go:build linux && !autorestart_portable

package systemd_test

import (
	"errors"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart/internal/systemdtest"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// systemctl reload restarts a daemon under load, returns when the new version is ready, and loses no request.
// With a version that fails it fails, and the daemon goes on. systemd reads its units again and executes
// itself in between, which changes nothing.
func TestReloads(t *testing.T) {
	const command = "/srv/reloads/autorestart"
	installCommand(t, systemdtest.Machine(t), command)
	reloads := testprocess.FromEnv(t, "AUTORESTART_TEST_RELOADS", 12)
	for name, options := range map[string]string{
		"notify":        "Type=notify\n",
		"notify-reload": "Type=notify-reload\nReloadSignal=SIGWINCH\n", // which Go ignores
	} {
		t.Run(name, func(t *testing.T) {
			testReloads(t, name, command, options, reloads)
		})
	}
}

func testReloads(t *testing.T, name, command, options string, reloads int) {
	d := newCrashing(t, "reloads-"+name, "127.0.0.1:8120 -watch=false",
		"FileDescriptorStoreMax=20\nExecReload=+"+command+" reload $MAINPID\n"+options)
	d.address = "127.0.0.1:8120"
	d.started()
	load := d.Load(t, d.network, d.address)
	versions, took, failed := []string{"1"}, []time.Duration(nil), 0
	for n := range reloads {
		version := n + 1001 // none of the bad ones
		d.deploy(version)
		start := time.Now()
		d.Run(t, "systemctl", "reload", d.unit)
		took = append(took, time.Since(start))
		versions = append(versions, strconv.Itoa(version))
		if got := d.page("/"); got != strconv.Itoa(version) {
			t.Fatalf("after the reload version %s serves, expected %d", got, version)
		}
		load.Await(t, 8) // so that the version is seen
		if n%10 == 4 {
			failed++
			d.deploy(panics)
			var exit *exec.ExitError
			if output, err := d.Try("systemctl", "reload", d.unit); !errors.As(err, &exit) || exit.ExitCode() != 1 {
				t.Errorf("reload with a version that panics: %v\n%s", err, output)
			}
			d.WantLogged(t, d.unit, "autorestart reload: process "+d.pid+": rolled back: main panicked")
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
