//go:build linux && !autorestart_portable

package systemd_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/autorestart-go/autorestart/internal/systemdtest"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// What docs/systemd.md says about units whose program uses package systemd. It is examples/systemd.

// wantVersion waits until a version of the example serves.
func (d *daemon) wantVersion(version, generation int) {
	d.t.Helper()
	d.WantLogged(d.t, d.unit, fmt.Sprintf("serving version=%q generation=%d", exampleVersion(version), generation))
}

func exampleVersion(version int) string { return fmt.Sprintf("version %010d", version) }

// deployPanicking deploys a version that panics before it is ready: of another program.
func (d *daemon) deployPanicking() {
	d.t.Helper()
	other := newDaemon(d.t, d.unit+".other", d.network, d.address)
	d.Deploy(d.t, d.path, other.program, panics)
}

// installReload installs cmd/autorestart where the units expect it.
func installReload(t *testing.T, d *daemon) {
	t.Helper()
	const bin = "/usr/local/bin" // which the machine only reads
	d.Run(t, "mount", "-t", "tmpfs", "tmpfs", bin)
	t.Cleanup(func() { d.Run(t, "umount", "--lazy", bin) })
	installCommand(t, d.System, bin+"/autorestart")
}

// installCommand installs cmd/autorestart at a path of the machine.
func installCommand(t *testing.T, s *systemdtest.System, path string) {
	t.Helper()
	command := filepath.Join(testprocess.MemoryDir(t), "autorestart")
	testprocess.Build(t, command, "cmd/autorestart")
	s.Install(t, path, command)
	t.Cleanup(func() { s.Remove(t, path) })
}

// notifies deploys versions: systemd says which one serves.
func notifies(t *testing.T, d *daemon) {
	t.Helper()
	d.wantStatus("serves, generation 0")
	load := d.Load(t, d.network, d.address)
	d.deploy(2)
	d.wantVersion(2, 1)
	testprocess.WaitFor(t, "status", func() bool { return d.hasStatus("serves, generation 1") })
	d.deployPanicking()
	d.wantVersion(2, 3)
	testprocess.WaitFor(t, "status", func() bool {
		// It is rolled back, and rejected as long as the file stays.
		return d.hasStatus("serves, generation 3: ") && d.hasStatus("main panicked: this version panics")
	})
	d.wantUnchanged()
	load.Await(t, 20)
	load.Stop(t, exampleVersion(1), exampleVersion(2))
}

func (d *daemon) hasStatus(text string) bool {
	d.t.Helper()
	return strings.Contains(d.Property(d.t, d.unit, "StatusText"), text)
}

// reloadsByCommand reloads with ExecReload=: it returns when the new version is ready, and fails when that
// was rolled back.
func reloadsByCommand(t *testing.T, d *daemon) {
	t.Helper()
	load := d.Load(t, d.network, d.address)
	for version := 2; version < 5; version++ {
		d.deploy(version)
		d.Run(t, "systemctl", "reload", d.unit)
		if got, err := d.get("/"); got != exampleVersion(version) || err != nil {
			t.Errorf("after the reload the version is %q, %v", got, err)
		}
		load.Await(t, 8) // so that the version is seen
	}
	d.deployPanicking()
	if output, err := d.Try("systemctl", "reload", d.unit); err == nil {
		t.Errorf("a reload into a version that panics succeeds: %s", output)
	}
	d.WantLogged(t, d.unit, "autorestart reload: process ") // rolled back, or rejected if the watcher came first
	d.wantUnchanged()
	load.Await(t, 20)
	load.Stop(t, exampleVersion(1), exampleVersion(2), exampleVersion(3), exampleVersion(4))
}

// reloadsBySignal reloads with SIGHUP only: it returns when a version is ready, also if it is the one before.
func reloadsBySignal(t *testing.T, d *daemon) {
	t.Helper()
	load := d.Load(t, d.network, d.address)
	d.deploy(2)
	d.Run(t, "systemctl", "reload", d.unit)
	if got, err := d.get("/"); got != exampleVersion(2) || err != nil {
		t.Errorf("after the reload the version is %q, %v", got, err)
	}
	d.deployPanicking()
	d.Run(t, "systemctl", "reload", d.unit)
	d.WantLogged(t, d.unit, "rolled back")
	d.wantUnchanged()
	load.Await(t, 20)
	load.Stop(t, exampleVersion(1), exampleVersion(2))
}

// isWatched stops the process, so that it does not work: systemd ends it and starts it again.
func isWatched(t *testing.T, d *daemon) {
	t.Helper()
	d.deploy(2)
	d.wantVersion(2, 1)
	d.wantUnchanged()
	endsStopped(t, d)
	d.wantVersion(2, 0)
}

func endsStopped(t *testing.T, d *daemon) {
	t.Helper()
	d.Run(t, "systemctl", "kill", "--kill-whom=main", "--signal=STOP", d.unit)
	d.WantLogged(t, d.unit, "Watchdog timeout")
}

// worksSandboxed reloads the service, kills it, and stops its process: the watchdog ends that.
func worksSandboxed(t *testing.T, d *daemon) {
	t.Helper()
	reloadsByCommand(t, d)
	d.deploy(5)
	d.WantLogged(t, d.unit, fmt.Sprintf("serving version=%q", exampleVersion(5)))
	survivesCrashes(t, d)
	endsStopped(t, d)
	d.wantVersion(2, 0)
	if lines := warnings(d.Log(t, d.unit)); len(lines) > 0 {
		t.Errorf("logged %q", lines)
	}
}

// survivesCrashes kills the process under load: no client is refused, and the count goes on.
func survivesCrashes(t *testing.T, d *daemon) {
	t.Helper()
	load := d.Load(t, d.network, d.address)
	count := 1
	d.wantCount(count)
	for _, end := range [][]string{
		{"kill", "--signal=KILL"}, {"kill", "--signal=SEGV"}, {"restart"},
	} {
		pid := d.Property(t, d.unit, "MainPID")
		d.Run(t, "systemctl", append(end, d.unit)...)
		testprocess.WaitFor(t, "another process", func() bool {
			now := d.Property(t, d.unit, "MainPID")
			return now != pid && now != "0"
		})
		count++
		d.wantCount(count)
	}
	d.deploy(2)
	d.wantVersion(2, 1)
	d.wantCount(count + 1)
	load.Await(t, 20)
	_, lost := load.Requests()
	for _, err := range lost { // accepted requests are cut off
		if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
	}
}

// survivesStops stops the unit, and starts it later: clients wait meanwhile.
func survivesStops(t *testing.T, d *daemon) {
	t.Helper()
	d.Run(t, "systemctl", "enable", d.unit)
	t.Cleanup(func() { d.Try("systemctl", "disable", d.unit) })
	d.wantCount(1)
	d.Run(t, "systemctl", "stop", d.unit)
	if state := d.Property(t, d.unit, "SubState"); state != "dead-resources-pinned" {
		t.Errorf("the stopped unit is %s", state)
	}
	conn, err := d.Dial(d.network, d.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET /count HTTP/1.0\r\n\r\n")
	d.Run(t, "systemctl", "start", d.unit)
	if b, err := io.ReadAll(conn); !strings.HasSuffix(string(b), "\r\n\r\n2") || err != nil {
		t.Errorf("a client that has connected meanwhile receives %q, %v", b, err)
	}
	d.Run(t, "systemctl", "stop", d.unit)
	d.Run(t, "systemctl", "clean", "--what=fdstore", d.unit)
	d.wantRefused()
	d.Run(t, "systemctl", "start", d.unit)
	d.wantCount(1)
}

// survivesSoftReboots reboots: clients that connect while the service does not run are answered, and the count goes on.
func survivesSoftReboots(t *testing.T, d *daemon) {
	t.Helper()
	const target, wait = "server-store.target", "server-wait.service"
	units := []string{d.unit, target}
	d.Run(t, "systemctl", append([]string{"enable", "--now"}, units...)...)
	t.Cleanup(func() { d.Try("systemctl", append([]string{"disable"}, units...)...) })
	// The service starts when the test says so.
	const waits, starts = "/run/server-waits", "/run/server-starts"
	d.Unit(t, wait, "[Unit]\nBefore="+d.unit+"\n[Service]\nType=oneshot\nTimeoutStartSec=infinity\n"+
		"ExecStart=sh -c 'touch "+waits+"; until [ -e "+starts+" ]; do sleep 0.01; done'\n[Install]\nWantedBy="+d.unit+"\n")
	d.Run(t, "systemctl", "enable", wait)
	t.Cleanup(func() { d.Try("systemctl", "disable", wait); d.Remove(t, starts) })
	d.wantCount(1)
	for n := range 2 {
		d.Remove(t, waits)
		d.Remove(t, starts)
		d.SoftReboot(t)
		testprocess.WaitFor(t, "start after the soft reboot", func() bool {
			_, err := os.Stat(d.Path(waits))
			return err == nil
		})
		if state := d.Property(t, d.unit, "ActiveState"); state != "inactive" {
			t.Errorf("the service is %s", state)
		}
		waiting := d.requestCount()
		d.WriteFile(t, starts, 0o600, nil)
		wantResponse(t, waiting, n+2)
	}
	d.WantState(t, d.unit, "active")
	d.deploy(2)
	d.wantVersion(2, 1)
	d.wantCount(4)
}

// keepsPath kills a service with a Unix socket: the file stays.
func keepsPath(t *testing.T, d *daemon) {
	t.Helper()
	before, err := os.Stat(d.Path(d.address))
	if err != nil {
		t.Fatal(err)
	}
	survivesCrashes(t, d)
	if after, err := os.Stat(d.Path(d.address)); err != nil || !os.SameFile(before, after) {
		t.Errorf("the socket is another file: %v", err)
	}
}
