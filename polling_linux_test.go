//go:build !autorestart_portable

package autorestart

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
)

// Where events can't be had or trusted a daemon polls, says why, sees each change
// within two seconds, and goes back to events once they can be had again.
func TestPollsWithoutEvents(t *testing.T) {
	for _, tt := range []struct {
		name   string
		before func(t *testing.T, d *daemon) (started func())
		logged string
		mend   func(t *testing.T, d *daemon) // nil if that can't be
	}{
		{"no instances", limitInotify("instances", 0), "too many open files", limitInotifyNow("instances", 10)},
		{"no watches", limitInotify("watches", 2), "no space left on device", limitInotifyNow("watches", 100)},
		{"unreadable directory", unreadableDirectory, "permission denied", func(t *testing.T, d *daemon) {
			if err := os.Chmod(filepath.Dir(d.path), 0o755); err != nil {
				t.Fatal(err)
			}
		}},
		{"no inotify", func(t *testing.T, d *daemon) func() {
			d.setenv(helperEnv + "=without inotify")
			return nil
		}, "function not implemented", nil},
		{"overlay", onOverlay, "not every change is told of on overlay", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := newDaemon(t)
			started := tt.before(t, d)
			d.start()
			if started != nil {
				started()
			}
			d.wantLogged("watching without relying on events")
			d.wantLogged(tt.logged)
			d.wantLogged("polling every 1s")
			for version := 2; version <= 3; version++ {
				deployed := time.Now()
				d.deploy(version)
				d.wantRestart(version)
				if took := time.Since(deployed); took > 2*time.Second {
					t.Errorf("version %d was seen after %v", version, took)
				}
			}
			if tt.mend == nil {
				return
			}
			waitFor(t, "line about polling from each image", func() bool {
				return strings.Count(d.stderr.String(), "polling every") >= d.last.Generation
			})
			tt.mend(t, d)
			d.wantLogged("watching by events again")
			d.watching()
			d.deploy(4)
			d.wantRestart(4)
		})
	}
}

// Without /proc there is no looking at the running image. What is foreign is
// refused all the same.
func TestWithoutProc(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("needs root for a mount namespace")
	}
	d := newDaemon(t)
	d.setenv(helperEnv + "=without proc")
	d.start()
	d.watching()
	foreign := image(t, 2)
	foreign[18] ^= 0x55 // e_machine
	d.deployBytes(foreign)
	d.wantLogged("expected an ELF executable for")
	d.deployBytes([]byte("#!/bin/true\n"))
	d.wantLogged("found a file that starts with")
	d.deploy(3)
	d.wantRestart(3)
	d.watching()
	os.Chtimes(d.path, time.Now(), time.Now())
	d.deploy(4)
	d.wantRestart(4)
}

// limitInotify starts the daemon in a user namespace of its own, which has its
// own limits.
func limitInotify(what string, n int) func(*testing.T, *daemon) func() {
	return func(t *testing.T, d *daemon) func() {
		if err := userNamespaces(); err != nil {
			t.Skip("no user namespaces here: ", err)
		}
		d.cmd.Path = "/bin/sh"
		d.cmd.Args = []string{"sh", "-c", fmt.Sprintf(`echo %d > /proc/sys/user/max_inotify_%s && exec "$0"`, n, what), d.path}
		d.cmd.SysProcAttr = new(syscall.SysProcAttr)
		inOwnUserNamespace(d.cmd.SysProcAttr)
		return nil
	}
}

func limitInotifyNow(what string, n int) func(*testing.T, *daemon) {
	return func(t *testing.T, d *daemon) {
		run(t, "nsenter", "-t", strconv.Itoa(d.cmd.Process.Pid), "-U", "--preserve-credentials",
			"sh", "-c", fmt.Sprintf("echo %d > /proc/sys/user/max_inotify_%s", n, what))
	}
}

// unreadableDirectory: it may be searched, and written by whoever deploys.
func unreadableDirectory(t *testing.T, d *daemon) func() {
	dir := filepath.Dir(d.path)
	if os.Getuid() == 0 {
		const nobody = 65534
		d.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	if err := os.Chmod(dir, 0o311); err != nil {
		t.Fatal(err)
	}
	return nil
}

var (
	_ = registerHelper("without inotify", func() {
		runtime.LockOSThread()
		executeDaemon(seccompFilter(denial{nr: unix.SYS_INOTIFY_INIT1, arg: -1, errno: unix.ENOSYS}))
	})
	_ = registerHelper("without proc", func() {
		runtime.LockOSThread()
		executeDaemon(noProc())
	})
)

// executeDaemon goes on as the daemon, with what has been done to this thread,
// unless there was an error.
func executeDaemon(err error) {
	if err == nil {
		env := os.Environ()
		for i, kv := range env {
			if strings.HasPrefix(kv, helperEnv+"=") {
				env[i] = helperEnv + "=daemon"
			}
		}
		err = syscall.Exec(os.Args[0], os.Args, env)
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// onOverlay mounts an overlay for the daemon alone, and deploys through it. What
// is changed in a layer directly, the kernel promises to nobody.
func onOverlay(t *testing.T, d *daemon) func() {
	attr := ownMounts(t)
	dir := filepath.Dir(d.path)
	for _, name := range []string{"lower", "upper", "work", "merged"} {
		d.mkdir(filepath.Join(dir, name))
	}
	d.rename(d.path, filepath.Join(dir, "lower", "app"))
	merged := filepath.Join(dir, "merged")
	mount := `cd "$0"; mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work merged`
	probe := exec.Command("/bin/sh", "-euc", mount, dir)
	probe.SysProcAttr = attr
	if output, err := probe.CombinedOutput(); err != nil {
		t.Skipf("no overlay file systems here: %v %s", err, output)
	}
	d.cmd.SysProcAttr = attr
	d.cmd.Path = "/bin/sh"
	d.cmd.Args = []string{"sh", "-euc", mount + `; cd /; exec "$0/merged/app"`, dir}
	return func() {
		// Seen from here, the mount is below the daemon's root.
		d.path = fmt.Sprintf("/proc/%d/root%s", d.cmd.Process.Pid, filepath.Join(merged, "app"))
	}
}
