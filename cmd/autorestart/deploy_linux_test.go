//go:build !autorestart_portable

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/forcefallback"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// runDeployed is the main of a daemon that restarts by itself, as most do. Its version says what it does.
func runDeployed() {
	defer autorestart.RollbackUnlessReady()
	version := daemontest.Version()
	r := &autorestart.Restarter{
		ReadyTimeout: testprocess.Timeout, DrainTimeout: testprocess.Timeout,
		Gate: gate{},
		Verify: func(ctx context.Context, exe *os.File) error {
			if err := held(ctx, holdVerify); err != nil {
				return err
			}
			switch {
			case isVersion(exe, refused):
				return errors.New("it has no signature")
			case isVersion(exe, slow) && exists(holdDrain):
				return &autorestart.RejectedError{Found: "a bad moment", Expected: "a better one", Retryable: true}
			}
			return nil
		},
		Check: func(context.Context) error {
			if version == unhealthy {
				return errors.New("the database does not answer")
			}
			return nil
		},
	}
	if exists(withHealth) {
		r.HealthTimeout = healthTimeout
	}
	switch version {
	case unready:
		autorestart.Rollback(errors.New("port 80 is taken\x1b[31m"))
	case panicking:
		panic("no configuration")
	case exiting:
		os.Exit(3)
	case slow:
		go r.Run(context.Background())
		for !exists(goOn) {
			time.Sleep(time.Millisecond)
		}
		autorestart.Ready()
		daemontest.Obey(r, nil)
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	if version != withoutRestarter {
		go func() { ended <- r.Run(ctx) }()
	}
	autorestart.RegisterDrainer(work{})
	autorestart.Ready()
	daemontest.Obey(r, map[string]func(string){
		"stop": func(string) {
			stop()
			daemontest.Say("stopped", <-ended)
		},
		"ready-at": func(string) { daemontest.Say("ready-at", autorestart.LastRestart().Ready.UnixNano()) },
	})
}

const withHealth = "with-health" // a file: new versions are on trial after Ready

// Files that hold a restart up for as long as they exist.
const (
	holdVerify = "hold-verify"
	holdGate   = "hold-gate"
)

// held waits until a file does not exist.
func held(ctx context.Context, file string) error {
	for exists(file) && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}
	return ctx.Err()
}

// gate gives leave unless the test holds it up.
type gate struct{}

func (gate) Acquire(ctx context.Context, _ autorestart.Change, _ *os.File) ([]byte, error) {
	return nil, held(ctx, holdGate)
}

func (gate) Release(context.Context, autorestart.GateResult) error { return nil }

// startDeployed starts a daemon that watches its executable.
func startDeployed(t *testing.T) *daemontest.Daemon {
	t.Helper()
	d := daemontest.Start(t, "deployed")
	waitForPage(t, d.PID())
	return d
}

// waitForPage waits until ps lists the process as one that serves and watches.
func waitForPage(t *testing.T, pid int) {
	t.Helper()
	testprocess.WaitFor(t, "status page", func() bool {
		p, ok := psOf(t, pid)
		return ok && p.Status == "serving" && p.Watch != ""
	})
}

// psOf returns a process as ps lists it.
func psOf(t *testing.T, pid int) (p listed, ok bool) {
	t.Helper()
	exit, stdout, stderr := runCommand(t, "ps", "-json")
	if exit != exitDone {
		t.Fatalf("exit %d, %q", exit, stderr)
	}
	for line := range strings.Lines(stdout) {
		var p listed
		if err := json.Unmarshal([]byte(line), &p); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if p.PID == pid {
			return p, true
		}
	}
	return p, false
}

// source returns a file with a version, outside of the daemon's directory.
func source(t testing.TB, version int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), fmt.Sprint("v", version))
	testprocess.WriteExecutable(t, path, daemontest.Image(t, version))
	return path
}

func deployTo(t *testing.T, d *daemontest.Daemon, version int, flags ...string) *running {
	t.Helper()
	return start(t, append(append([]string{"deploy"}, flags...), source(t, version), d.Path)...)
}

// wants compares the exit status, and what is to be in both outputs.
func (r result) wants(t *testing.T, exit int, stdout, stderr string) {
	t.Helper()
	if r.exit != exit || !strings.Contains(r.stdout, stdout) || !strings.Contains(r.stderr, stderr) || (stderr == "") != (r.stderr == "") {
		t.Errorf("exit %d, %q, %q; want %d, %q, %q", r.exit, r.stdout, r.stderr, exit, stdout, stderr)
	}
}

func TestDeploySucceedsWhenVersionIsReady(t *testing.T) {
	d := startDeployed(t)
	for version := 2; version < 5; version++ {
		r := deployTo(t, d, version).wait(t)
		d.WantRestart(version)
		r.wants(t, exitDone, fmt.Sprintf("process %d: ", d.PID()), "")
		r.wants(t, exitDone, fmt.Sprintf("is ready (generation %d)\nthe process is ready", version-1), "")
	}
	start(t, "deploy", "-rollback", d.Path).wait(t).wants(t, exitDone, "is ready (generation 4)", "")
	d.WantRestart(3)
	start(t, "deploy", "-rollback", d.Path).wait(t).wants(t, exitDone, "is ready (generation 5)", "")
	d.WantRestart(4)
	wantNoTemporaryFiles(t, d)
}

func wantNoTemporaryFiles(t *testing.T, d *daemontest.Daemon) {
	t.Helper()
	if left, _ := filepath.Glob(filepath.Dir(d.Path) + "/.*deploy*"); len(left) > 0 {
		t.Errorf("left %q", left)
	}
}

func TestDeployOfSameContentIsDone(t *testing.T) {
	d := startDeployed(t)
	deployTo(t, d, 1).wait(t).wants(t, exitDone, "already runs this version", "")
	deployTo(t, d, 2).wait(t).wants(t, exitDone, "is ready (generation 1)", "")
}

// A deploy waits for a Gate. Another deploy calls that wait off.
func TestDeployWaitsForGate(t *testing.T) {
	d := startDeployed(t)
	remove := put(d, holdGate)
	first := deployTo(t, d, 2)
	waitForStatus(t, d, "waiting for its Gate")
	deployTo(t, d, 1).wait(t).wants(t, exitDone, "already runs this version", "")
	first.wait(t).wants(t, exitFailed, "waiting for its Gate", "another deploy has replaced the file")
	second := deployTo(t, d, 3)
	waitForStatus(t, d, "waiting for its Gate")
	remove()
	second.wait(t).wants(t, exitDone, "is ready (generation 1)", "")
}

// A process that drains for another version does not stay with the content that it runs.
func TestDeployOfSameContentDuringRestart(t *testing.T) {
	d := startDeployed(t)
	remove := put(d, holdDrain)
	first := deployTo(t, d, 2)
	waitForStatus(t, d, "draining")
	deployTo(t, d, 1, "-timeout", "1s").wait(t).wants(t, exitUnable, "", "for 1 of 1 processes; the file stays in place")
	first.wait(t).wants(t, exitFailed, "", "another deploy has replaced the file")
	second := deployTo(t, d, 1)
	remove()
	second.wait(t).wants(t, exitDone, "the process is ready", "")
	if p, ok := psOf(t, d.PID()); !ok || p.Version != "version 1" && p.Status != "serving" {
		t.Errorf("%+v", p)
	}
}

func waitForStatus(t *testing.T, d *daemontest.Daemon, status string) {
	t.Helper()
	testprocess.WaitFor(t, status, func() bool {
		p, ok := psOf(t, d.PID())
		return ok && p.Status == status
	})
}

func TestDeployWaitsUntilVersionIsReady(t *testing.T) {
	d := startDeployed(t)
	r := deployTo(t, d, slow)
	d.WantRestart(slow)
	testprocess.WaitFor(t, "status", func() bool {
		p, ok := psOf(t, d.PID())
		return ok && p.Status == "starting" && p.Generation == 1
	})
	if len(r.ended) > 0 {
		t.Error("it has returned")
	}
	put(d, goOn)
	r.wait(t).wants(t, exitDone, "is ready (generation 1)", "")
}

func TestDeployFailsWhenVersionIsRolledBack(t *testing.T) {
	for version, reason := range map[int]string{unready: "port 80 is taken [31m", panicking: "main panicked: no configuration"} {
		t.Run(reason, func(t *testing.T) {
			d := startDeployed(t)
			r := deployTo(t, d, version).wait(t)
			d.WantRestart(version)
			d.WantStart(1, d.Last.Generation)
			r.wants(t, exitFailed, "", "rolled back: ")
			r.wants(t, exitFailed, "", reason)
			// The outcome of an earlier deploy is not taken for that of this one.
			deployTo(t, d, 2).wait(t).wants(t, exitDone, "is ready (generation 3)", "")
			// The same file again is another deploy.
			deployTo(t, d, version).wait(t).wants(t, exitFailed, "", "rolled back: ")
		})
	}
}

// The version that runs stays the previous one when one version after the other fails.
func TestRollbackAfterSeveralFailures(t *testing.T) {
	d := startDeployed(t)
	for _, version := range []int{unready, panicking, unready} {
		if r := deployTo(t, d, version).wait(t); r.exit != exitFailed {
			t.Fatalf("%+v", r)
		}
	}
	start(t, "deploy", "-rollback", d.Path).wait(t).wants(t, exitDone, "already runs this version", "")
	deployTo(t, d, unready).wait(t)
	deployTo(t, d, 2).wait(t).wants(t, exitDone, "is ready", "")
	start(t, "deploy", "-rollback", d.Path).wait(t).wants(t, exitDone, "is ready", "")
	if exe, err := os.Open(d.Path); err != nil || !isVersion(exe, 1) {
		t.Errorf("the first version is not at the path: %v", err)
	}
}

func TestDeployWaitsForEndOfTrial(t *testing.T) {
	d := daemontest.New(t, "deployed")
	put(d, withHealth)
	d.Start()
	waitForPage(t, d.PID())
	r := deployTo(t, d, 2).wait(t)
	r.wants(t, exitDone, "is ready and on trial", "")
	r.wants(t, exitDone, "is ready (generation 1)", "")
	r = deployTo(t, d, unhealthy).wait(t)
	r.wants(t, exitFailed, "", "the database does not answer")
	r.wants(t, exitFailed, "", "rolled back")
}

func TestDeployFailsWhenVersionIsRejected(t *testing.T) {
	d := startDeployed(t)
	deployTo(t, d, refused).wait(t).wants(t, exitFailed, "", "rejected: ")
	p, _ := psOf(t, d.PID())
	if p.Last == nil || p.Last.Outcome != "rejected" || !strings.Contains(p.Last.Reason, "it has no signature") {
		t.Errorf("ps: %+v", p.Last)
	}
	script := filepath.Join(t.TempDir(), "script")
	d.Write(script, []byte("#!/bin/no\n"))
	start(t, "deploy", script, d.Path).wait(t).wants(t, exitFailed, "", "rejected: ")
	deployTo(t, d, 2).wait(t).wants(t, exitDone, "is ready (generation 1)", "")
}

// A version that is looked at again is waited for.
func TestDeployWaitsForRetryableRejection(t *testing.T) {
	d := startDeployed(t)
	remove := put(d, holdDrain)
	put(d, goOn)
	r := deployTo(t, d, slow)
	testprocess.WaitFor(t, "rejection", func() bool {
		p, ok := psOf(t, d.PID())
		return ok && p.Last != nil && p.Last.Retryable
	})
	if len(r.ended) > 0 {
		t.Error("it has returned")
	}
	remove()
	r.wait(t).wants(t, exitDone, "does not accept the version yet: ", "")
}

func TestDeployTimesOut(t *testing.T) {
	d := startDeployed(t)
	put(d, holdDrain)
	r := deployTo(t, d, 2, "-timeout", "1s").wait(t)
	r.wants(t, exitUnable, "", "draining")
	r.wants(t, exitUnable, "", "no outcome after 1s for 1 of 1 processes; the file stays in place")
}

// Whoever can read a directory can lock it.
func TestDeployTimesOutWhileDirectoryIsLocked(t *testing.T) {
	d := startDeployed(t)
	dir, err := os.Open(filepath.Dir(d.Path))
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	r := deployTo(t, d, 2, "-timeout", "1s").wait(t)
	r.wants(t, exitUnable, "", "cannot lock the directory "+filepath.Dir(d.Path)+", where another process deploys")
	wantNoTemporaryFiles(t, d)
}

// A process that ends while it is waited for has not taken the version.
func TestDeployFailsWhenProcessEnds(t *testing.T) {
	t.Run("by itself", func(t *testing.T) {
		d := startDeployed(t)
		deployTo(t, d, exiting).wait(t).wants(t, exitFailed, "", "the process has ended while it was ")
	})
	for phase, begin := range map[string]func(d *daemontest.Daemon) (version int){
		"verifying":                 func(d *daemontest.Daemon) int { put(d, holdVerify); return 2 },
		"waiting for its Gate":      func(d *daemontest.Daemon) int { put(d, holdGate); return 2 },
		"draining":                  func(d *daemontest.Daemon) int { put(d, holdDrain); return 2 },
		"starting":                  func(d *daemontest.Daemon) int { return slow },
		"not accepted, and serving": func(d *daemontest.Daemon) int { put(d, holdDrain); return slow },
	} {
		t.Run(phase, func(t *testing.T) {
			d := startDeployed(t)
			r := deployTo(t, d, begin(d))
			testprocess.WaitFor(t, "phase", func() bool {
				p, ok := psOf(t, d.PID())
				return ok && (p.Status == phase || p.Last != nil && p.Last.Retryable)
			})
			d.Signal(syscall.SIGKILL)
			d.Cmd.Wait()
			r.wait(t).wants(t, exitFailed, "", "the process has ended while it was ")
		})
	}
}

func TestDeployThroughSymlinks(t *testing.T) {
	d := startDeployed(t)
	link := filepath.Join(t.TempDir(), "link")
	d.Symlink(d.Path, link)
	r := start(t, "deploy", source(t, 2), link).wait(t)
	r.wants(t, exitDone, d.Path+" is in place; the previous version is "+d.Path+".previous\n", "")
	if target, err := os.Readlink(link); err != nil || target != d.Path {
		t.Errorf("the link leads to %q, %v", target, err)
	}
}

func TestDeployToNoProcess(t *testing.T) {
	path := source(t, 1)
	start(t, "deploy", source(t, 2), path).wait(t).wants(t, exitUnable, path+" is in place", "no process runs this file; it stays in place")
}

// Of two deploys, the one whose file was replaced says so, unless its version was executed before.
func TestDeployIsReplacedByAnother(t *testing.T) {
	d := startDeployed(t)
	remove := put(d, holdDrain)
	first := deployTo(t, d, slow) // is not accepted as long as the file is there
	testprocess.WaitFor(t, "rejection", func() bool {
		p, ok := psOf(t, d.PID())
		return ok && p.Last != nil && p.Last.Retryable
	})
	second := deployTo(t, d, 3)
	first.wait(t).wants(t, exitFailed, "", "another deploy has replaced the file")
	remove()
	second.wait(t).wants(t, exitDone, "is ready (generation 1)", "")
}

// Two deploys at the same moment have a clear outcome each, and the file of one of them is in place.
func TestDeploysAtTheSameTime(t *testing.T) {
	d := startDeployed(t)
	first, second := deployTo(t, d, 2), deployTo(t, d, 3)
	a, b := first.wait(t), second.wait(t)
	if a.exit != exitDone && b.exit != exitDone {
		t.Errorf("both have failed: %+v, %+v", a, b)
	}
	for _, r := range []result{a, b} {
		if r.exit != exitDone && !strings.Contains(r.stderr, "another deploy has replaced the file") {
			t.Errorf("%+v", r)
		}
	}
	wantNoTemporaryFiles(t, d)
}

// A file that is put over the deployed one by other means counts as another deploy.
func TestDeployIsReplacedByCopy(t *testing.T) {
	d := startDeployed(t)
	remove := put(d, holdDrain)
	r := deployTo(t, d, slow)
	testprocess.WaitFor(t, "rejection", func() bool {
		p, ok := psOf(t, d.PID())
		return ok && p.Last != nil && p.Last.Retryable
	})
	testprocess.Run(t, "cp", "-f", "--remove-destination", source(t, 4), d.Path)
	r.wait(t).wants(t, exitFailed, "", "another deploy has replaced the file")
	remove()
}

// A version without a Restarter leaves the page as the version before has left it.
func TestDeployOfVersionWithoutRestarter(t *testing.T) {
	d := startDeployed(t)
	r := deployTo(t, d, withoutRestarter, "-timeout", "3s").wait(t)
	r.wants(t, exitUnable, "", "starts the new version")
}

// A version that is ready before its Restarter runs is ready as soon as it does.
func TestDeployOfVersionThatIsReadyFirst(t *testing.T) {
	d := daemontest.Start(t, "ready first")
	waitForPage(t, d.PID())
	for version := 2; version < 4; version++ {
		deployTo(t, d, version).wait(t).wants(t, exitDone, "is ready (generation ", "")
	}
}

// A process that has the file at another path, as in a container, is waited for.
func TestDeployIntoMountNamespace(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	testprocess.NeedTool(t, "unshare")
	d := daemontest.New(t, "deployed")
	env := d.Cmd.Env
	d.Cmd = exec.Command("unshare", "-m", "sh", "-c", `mount --bind "$0" /mnt && exec /mnt/app`, filepath.Dir(d.Path))
	d.Cmd.Env = env
	d.Start()
	waitForPage(t, d.PID())
	if p, _ := psOf(t, d.PID()); p.Program != "/mnt/app" {
		t.Errorf("ps: %+v", p)
	}
	deployTo(t, d, 2).wait(t).wants(t, exitDone, "is ready (generation 1)", "")
	deployTo(t, d, unready).wait(t).wants(t, exitFailed, "", "port 80 is taken")
}

// A program without the library does not restart.
func TestDeployToProgramWithoutLibrary(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sleep")
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	testprocess.WriteExecutable(t, path, testprocess.ReadFile(t, sleep))
	cmd := exec.Command(path, "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	r := start(t, "deploy", source(t, 1), path).wait(t)
	r.wants(t, exitUnable, "", "does not contain package autorestart: restart it")
}

// A daemon with an older release has no status page. That it executes the new version is all that is known.
func TestDeployToDaemonWithoutPage(t *testing.T) {
	d := daemontest.Start(t, "pageless")
	d.Tell("watch")
	d.WaitForWatch()
	r := deployTo(t, d, 2).wait(t)
	d.WantRestart(2)
	r.wants(t, exitUnable, "is in place", "executes the new version; it has no status page")
}

// Events of -json are objects with the documented fields.
func TestDeployWritesJSON(t *testing.T) {
	d := startDeployed(t)
	r := deployTo(t, d, 2, "-json").wait(t)
	var events []string
	for line := range strings.Lines(r.stdout) {
		var e deployEvent
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		events = append(events, e.Event)
		if e.Event == "result" && (e.Exit == nil || *e.Exit != 0 || e.Counts["ready"] != 1) {
			t.Errorf("%s", line)
		}
	}
	if r.exit != exitDone || r.stderr != "" || len(events) < 3 || events[0] != "placed" || events[len(events)-1] != "result" {
		t.Errorf("%+v", r)
	}
}

// Generation 0 is one that a program reads, too.
func TestDeployWritesGenerationOfFreshProcess(t *testing.T) {
	d := startDeployed(t)
	r := deployTo(t, d, refused, "-json").wait(t)
	r.wants(t, exitFailed, `"generation":0`, "")
}

// A signal before the rename leaves nothing, and one after it ends the waiting.
func TestDeployEndsBySignal(t *testing.T) {
	d := startDeployed(t)
	r := deployTo(t, d, slow)
	d.WantRestart(slow)
	r.cmd.Process.Signal(syscall.SIGTERM)
	r.wait(t).wants(t, exitUnable, "", "for 1 of 1 processes; the file stays in place")
	wantNoTemporaryFiles(t, d)
}

// runPageless is a daemon of which the command sees no more than of one with an older release.
func runPageless() {
	if err := forcefallback.DenyAll(forcefallback.Denial{Call: unix.SYS_MEMFD_CREATE, Arg: -1, Errno: unix.ENOSYS}); err != nil {
		panic(err)
	}
	autorestart.Ready()
	daemontest.Obey(new(autorestart.Restarter), nil)
}
