//go:build linux

package integrationtest

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/daemontest/program"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// A path-based FUSE file system shows the running image as what is at the path underneath by
// now. Each deploy there is seen all the same, and each is one restart.
func TestDeployedUnderFUSE(t *testing.T) {
	t.Parallel()
	for _, way := range []struct{ name, script string }{
		{"rename", `mv "$1" "$2"`},
		{"rename with the same time", `touch -r "$2" "$1"; mv "$1" "$2"`},
		{"rsync", `rsync -a "$1" "$2"`},
		{"rsync --inplace", `rsync -a --inplace "$1" "$2"`},
	} {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			d := newFUSEDaemon(t)
			if strings.HasPrefix(way.script, "rsync") {
				testprocess.NeedTool(t, "rsync")
			}
			d.Start()
			for version := 2; version <= 3; version++ {
				d.WaitForWatch()
				staged := d.stage(version)
				later(t, staged)
				testprocess.Shell(t, way.script, staged, d.underneath)
				d.WantRestart(version)
			}
		})
	}
}

// An image that was executed from its file ends when cp empties that. Later ones run from memory.
func TestCopiedUnderFUSE(t *testing.T) {
	if !daemontest.HaveEvents {
		t.Skip("only Linux executes images from memory")
	}
	t.Parallel()
	d := newFUSEDaemon(t)
	d.Start()
	d.WaitForWatch()
	d.Rename(d.stage(2), d.underneath)
	d.WantRestart(2)
	for version := 3; version <= 4; version++ {
		d.WaitForWatch()
		testprocess.Run(t, "cp", d.stage(version), d.underneath)
		d.WantRestart(version)
	}
}

// A file that is touched may be another one with the same size. It is executed once at most.
func TestTouchedUnderFUSE(t *testing.T) {
	t.Parallel()
	d := newFUSEDaemon(t)
	d.Start()
	d.WaitForWatch()
	later(t, d.underneath)
	if daemontest.HaveEvents { // the fallback compares sums
		d.WantRestart(1)
		d.WaitForWatch() // it has looked at the file
	}
	d.Rename(d.stage(2), d.underneath)
	d.WantRestart(2)
}

// The code of the new version is another one at each address, and the kernel has one page cache
// for both. None of it may come into the running image, nor the other way round.
func TestOtherCodeUnderFUSE(t *testing.T) {
	if testing.Short() {
		t.Skip("builds programs")
	}
	if !daemontest.HaveEvents {
		t.Skip("only Linux keeps them apart")
	}
	t.Parallel()
	d := newFUSEDaemon(t)
	build := func(version int, file string) {
		t.Helper()
		ldflags := fmt.Sprintf("-randlayout=%d -X=main.version=%d", version, version)
		testprocess.Build(t, file, "internal/integrationtest/testdata/deploy/daemon", "-buildvcs=false", "-ldflags="+ldflags)
	}
	build(1, d.underneath)
	const last = 3
	for version := 2; version <= last; version++ {
		build(version, d.underneath+strconv.Itoa(version))
	}
	d.Start()
	for version := 2; version <= last; version++ {
		d.WaitForWatch()
		d.Rename(d.underneath+strconv.Itoa(version), d.underneath)
		d.WantRestart(version)
	}
}

// The first image is executed from its file, which the deploy replaces. It can be rolled back to
// all the same.
func TestFirstVersionIsRolledBackToUnderFUSE(t *testing.T) {
	program.NeedRollback(t)
	t.Parallel()
	d := newFUSEDaemon(t)
	d.Setenv(program.ReadyEnv + "=1m")
	d.Start()
	d.wantRollback(1, program.Panics)
}

// An image that runs from memory again, after a rollback, judges further versions by the file that it
// was copied from, and executes them from memory, too.
func TestVersionInMemoryIsRolledBackToUnderFUSE(t *testing.T) {
	program.NeedRollback(t)
	t.Parallel()
	d := newFUSEDaemon(t)
	d.Setenv(program.ReadyEnv + "=1m")
	d.Start()
	d.wantRollback(1, program.Panics)
	d.deploy(2)
	d.WantAnswer("ready", "")
	for range 2 {
		d.wantRollback(2, program.Panics)
	}
	d.deploy(4)
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", d.PID()))
	if err != nil || !strings.HasPrefix(exe, "/memfd:") {
		t.Errorf("version 4 is executed from %s: %v", exe, err)
	}
}

// deploy deploys a version by a rename, and waits until it runs.
func (f *fuseDaemon) deploy(version int) {
	f.T.Helper()
	f.WaitForWatch()
	f.Rename(f.stage(version), f.underneath)
	f.WantRestart(version)
}

// wantRollback deploys a version that fails, and waits until the given one runs again.
func (f *fuseDaemon) wantRollback(to, failing int) {
	f.T.Helper()
	f.deploy(failing)
	if got := f.NextStart().Version; got != to {
		f.T.Fatalf("version %d runs after the rollback, expected %d", got, to)
	}
	program.WantRolledBack(f.Daemon, "main panicked: this version panics")
}

// fuseDaemon is a daemon that is executed from a FUSE file system that shows another
// directory.
type fuseDaemon struct {
	*daemontest.Daemon
	dir        string
	underneath string // what is shown at Path
}

// newFUSEDaemon prepares a daemon with a mount of bindfs(1) of its own.
func newFUSEDaemon(t *testing.T) *fuseDaemon {
	t.Helper()
	if testing.Short() {
		t.Skip("waits for polls, and for attributes that the kernel caches")
	}
	for _, tool := range []string{"bindfs", "mountpoint"} {
		testprocess.NeedTool(t, tool)
	}
	d := program.New(t)
	needRoot(t)
	needFUSE(t)
	f := &fuseDaemon{Daemon: d, dir: filepath.Dir(d.Path)}
	f.underneath = filepath.Join(f.dir, "source/app")
	f.Mkdir(filepath.Dir(f.underneath))
	f.Mkdir(filepath.Join(f.dir, "mnt"))
	f.Rename(f.Path, f.underneath)
	f.Cmd.Path = "/bin/sh"
	f.Cmd.Args = []string{"sh", "-euc", `mount --make-rprivate /
		bindfs -f "$1/source" "$1/mnt" >/dev/null 2>&1 &
		echo $! >"$1/pid"
		until mountpoint -q "$1/mnt"; do sleep 0.02; done
		exec "$1/mnt/app"`, "sh", f.dir}
	f.Cmd.SysProcAttr = ownMounts(t)
	return f
}

// Start starts the daemon. Path is then as seen from outside of its mount namespace.
func (f *fuseDaemon) Start() {
	f.T.Helper()
	f.T.Cleanup(func() {
		// bindfs would keep its mount namespace, and itself, after the end of the daemon.
		pid, err := strconv.Atoi(strings.TrimSpace(string(testprocess.ReadFile(f.T, filepath.Join(f.dir, "pid")))))
		if err != nil {
			f.T.Fatal(err)
		}
		syscall.Kill(pid, syscall.SIGKILL)
	})
	f.Daemon.Start()
	f.Path = fmt.Sprintf("/proc/%d/root%s/mnt/app", f.PID(), f.dir)
}

// stage writes a version beside the file that is shown.
func (f *fuseDaemon) stage(version int) string {
	f.T.Helper()
	staged := f.underneath + "." + strconv.Itoa(version)
	f.Write(staged, daemontest.Image(f.T, version))
	return staged
}
