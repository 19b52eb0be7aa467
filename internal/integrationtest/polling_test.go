//go:build linux && !autorestart_portable

package integrationtest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/daemontest/program"
	"github.com/autorestart-go/autorestart/internal/forcefallback"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// Where there are no events, or none that can be trusted, a daemon polls, logs why,
// sees each change within two seconds, and uses events as soon as there are some.
func TestPollsWithoutEvents(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		before func(t *testing.T, d *daemontest.Daemon) (started func())
		logged string
		mend   func(t *testing.T, d *daemontest.Daemon) // nil if that can't be
	}{
		{"no instances", limitInotify("instances", 0), "too many open files, raise fs.inotify.max_user_instances by sysctl", limitInotifyNow("instances", 10)},
		{"no watches", limitInotify("watches", 2), "no space left on device, raise fs.inotify.max_user_watches by sysctl", limitInotifyNow("watches", 100)},
		{"unreadable directory", unreadableDirectory, "permission denied", func(t *testing.T, d *daemontest.Daemon) {
			if err := os.Chmod(filepath.Dir(d.Path), 0o755); err != nil {
				t.Fatal(err)
			}
		}},
		{"no inotify", func(t *testing.T, d *daemontest.Daemon) func() {
			d.Setenv(testprocess.UseHelper(t, "without inotify"))
			return nil
		}, "function not implemented", nil},
		{"overlay", onOverlay, "not every change is reported on overlay", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := program.New(t)
			started := tt.before(t, d)
			d.Start()
			if started != nil {
				started()
			}
			d.WantLogged("watching without relying on events")
			d.WantLogged(tt.logged)
			d.WantLogged("polling every 1s")
			for version := 2; version <= 3; version++ {
				deployed := testprocess.StartStopwatch()
				d.DeployVersion(version)
				d.WantRestart(version)
				wantSeenSoon(t, version, deployed)
				wantPolling(d) // before that the next version may be found at the first look
			}
			if tt.mend == nil {
				return
			}
			tt.mend(t, d)
			d.WantLogged("watching by events again")
			d.WaitForWatch()
			d.DeployVersion(4)
			d.WantRestart(4)
		})
	}
}

// wantPolling waits until this image and all before it have said that they poll.
func wantPolling(d *daemontest.Daemon) {
	d.T.Helper()
	testprocess.WaitFor(d.T, "line about polling from each image", func() bool {
		return strings.Count(d.Log(), "watching without relying on events") >= d.Last.Generation
	})
}

// An event tells of each change between events and polling, with the reason.
func TestObserveMode(t *testing.T) {
	t.Parallel()
	d := program.New(t)
	d.Setenv(program.ObserveEnv + "=modes")
	released(d)
	runAsNobody(d)
	d.Start()
	link := filepath.Dir(d.Path)
	dir := filepath.Join(filepath.Dir(link), "releases", "1")
	for _, step := range []struct {
		mode    os.FileMode // of the directory
		watches string
	}{
		{0o755, "events"},
		{0o311, "events and polling every 1s: inotify_add_watch " + dir + ": permission denied"},
		{0o755, "events"},
	} {
		if err := os.Chmod(dir, step.mode); err != nil {
			t.Fatal(err)
		}
		testprocess.Run(t, "ln", "-sfn", "releases/1", link) // after an event it asks for events again
		if got := d.Want("mode"); got != step.watches {
			t.Fatalf("it watches by %q, want %q", got, step.watches)
		}
	}
}

// The file of the running image is written in place, where no error keeps writers away, as by
// another client of a network file system. Here that is the layer below an overlay.
func TestRunningFileIsWritten(t *testing.T) {
	t.Parallel()
	d := program.New(t)
	lower := filepath.Join(filepath.Dir(d.Path), "lower/app")
	started := onOverlay(t, d)
	d.Start()
	started()
	for version := 2; version <= 3; version++ {
		wantPolling(d) // then it knows its own content
		staged := d.Stage(version)
		// Not cp: no image outlives the moment in which its file is empty.
		testprocess.Run(t, "dd", "if="+staged, "of="+lower, "conv=notrunc", "bs=1M")
		d.WantRestart(version)
	}
}

// Only a layer can change the running image of an overlay: a file that is touched is the same,
// and can still be rolled back to.
func TestTouchedOnOverlay(t *testing.T) {
	t.Parallel()
	d := program.New(t)
	d.Setenv(program.ReadyEnv + "=1h")
	started := onOverlay(t, d)
	d.Start()
	started()
	d.WaitForWatch()
	later(t, d.Path)
	d.WaitForWatch() // it has looked at the file
	d.DeployVersion(2)
	d.WantRestart(2)
}

// Without /proc the running image can't be looked at. A foreign file is rejected all
// the same.
func TestWithoutProc(t *testing.T) {
	t.Parallel()
	for _, way := range []string{"without proc", "closed proc"} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			d := program.New(t)
			d.Setenv(testprocess.UseHelper(t, way))
			if os.Geteuid() != 0 {
				t.Skip("needs root for a mount namespace")
			}
			d.Start()
			d.WaitForWatch()
			foreign := daemontest.Image(t, 2)
			foreign[18] ^= 0x55 // e_machine
			d.DeployBytes(foreign)
			d.WantLogged("expected an ELF executable for")
			d.DeployBytes([]byte("#!/bin/true\n"))
			d.WantLogged("found a script")
			d.DeployVersion(3)
			d.WantRestart(3)
			// The watches have crossed the exec. The image has looked at itself before this line.
			daemontest.WaitFor(t, "line about polling from this image", func() bool {
				return strings.Count(d.Log(), "watching without relying on events") == 2
			})
			os.Chtimes(d.Path, time.Now(), time.Now())
			d.DeployVersion(4)
			d.WantRestart(4)
		})
	}
}

// limitInotify starts the daemon in a user namespace of its own, which has limits of
// its own.
func limitInotify(what string, n int) func(*testing.T, *daemontest.Daemon) func() {
	return func(t *testing.T, d *daemontest.Daemon) func() {
		if err := forcefallback.UserNamespaces(); err != nil {
			t.Skip("no user namespaces here: ", err)
		}
		d.Cmd.Path = "/bin/sh"
		d.Cmd.Args = []string{"sh", "-c", fmt.Sprintf(`echo %d > /proc/sys/user/max_inotify_%s && exec "$0"`, n, what), d.Path}
		d.Cmd.SysProcAttr = new(syscall.SysProcAttr)
		forcefallback.OwnUserNamespace(d.Cmd.SysProcAttr)
		return nil
	}
}

// limitInotifyNow changes the limit of the running daemon.
func limitInotifyNow(what string, n int) func(*testing.T, *daemontest.Daemon) {
	return func(t *testing.T, d *daemontest.Daemon) {
		testprocess.Run(t, "nsenter", "-t", strconv.Itoa(d.PID()), "-U", "--preserve-credentials",
			"sh", "-c", fmt.Sprintf("echo %d > /proc/sys/user/max_inotify_%s", n, what))
	}
}

// unreadableDirectory gives the daemon a directory that it may search but not read.
func unreadableDirectory(t *testing.T, d *daemontest.Daemon) func() {
	runAsNobody(d)
	if err := os.Chmod(filepath.Dir(d.Path), 0o311); err != nil {
		t.Fatal(err)
	}
	return nil
}

// runAsNobody has the daemon run without the rights of root.
func runAsNobody(d *daemontest.Daemon) {
	if os.Getuid() == 0 {
		const nobody = 65534
		d.Cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
}

var (
	_ = testprocess.RegisterHelper("without inotify", func() {
		runtime.LockOSThread()
		executeDaemon(forcefallback.Deny(forcefallback.Denial{Call: unix.SYS_INOTIFY_INIT1, Arg: -1, Errno: unix.ENOSYS}))
	})
	_ = testprocess.RegisterHelper("without proc", func() {
		runtime.LockOSThread()
		executeDaemon(forcefallback.NoProc())
	})
	_ = testprocess.RegisterHelper("closed proc", func() {
		runtime.LockOSThread()
		executeDaemon(forcefallback.ClosedProc())
	})
)

// executeDaemon executes the daemon, with what has been done to this thread, unless
// there was an error.
func executeDaemon(err error) {
	if err == nil {
		env := os.Environ()
		for i, kv := range env {
			if strings.HasPrefix(kv, testprocess.HelperEnv+"=") {
				env[i] = testprocess.HelperEnv + "=" + program.Name
			}
		}
		err = syscall.Exec(os.Args[0], os.Args, env)
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// onOverlay mounts an overlay for the daemon alone, and deploys through it. The
// kernel promises nothing of changes that are made in a layer directly.
func onOverlay(t *testing.T, d *daemontest.Daemon) func() {
	attr := ownMounts(t)
	dir := filepath.Dir(d.Path)
	for _, name := range []string{"lower", "upper", "work", "merged"} {
		d.Mkdir(filepath.Join(dir, name))
	}
	d.Rename(d.Path, filepath.Join(dir, "lower", "app"))
	merged := filepath.Join(dir, "merged")
	mount := `cd "$0"; mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work merged`
	probe := exec.Command("/bin/sh", "-euc", mount, dir)
	probe.SysProcAttr = attr
	if output, err := probe.CombinedOutput(); err != nil {
		t.Skipf("no overlay file systems here: %v %s", err, output)
	}
	d.Cmd.SysProcAttr = attr
	d.Cmd.Path = "/bin/sh"
	d.Cmd.Args = []string{"sh", "-euc", mount + `; cd /; exec "$0/merged/app"`, dir}
	return func() {
		// Seen from here, the mount is below the daemon's root.
		d.Path = fmt.Sprintf("/proc/%d/root%s", d.PID(), filepath.Join(merged, "app"))
	}
}
