//go:build linux

package integrationtest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/daemontest/program"
	"github.com/autorestart-go/autorestart/internal/forcefallback"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// The file system of a directory of the path is unmounted: the path leads to the
// directory below, and later to the next file system.
func TestUnmounted(t *testing.T) {
	t.Parallel()
	t.Run("deployed below", func(t *testing.T) {
		t.Parallel()
		d := newMountedDaemon(t)
		d.Start()
		d.watchingMount()
		d.inside(`umount "$1"`, d.mnt)
		d.watchingMount()
		d.Symlink(d.target(2), d.Path)
		d.WantRestart(2)
	})
	t.Run("mounted again", func(t *testing.T) {
		t.Parallel()
		d := newMountedDaemon(t)
		d.Start()
		d.watchingMount()
		d.inside(`umount "$1"`, d.mnt)
		d.watchingMount()
		d.inside(mountWith, d.mnt, d.target(2))
		d.WantRestart(2)
	})
	t.Run("mounted again with the same version", func(t *testing.T) {
		t.Parallel()
		d := newMountedDaemon(t)
		d.Start()
		d.watchingMount()
		d.inside(`umount "$1"`, d.mnt)
		d.watchingMount()
		d.inside(mountWith, d.mnt, d.target(1))
		d.watchingMount()
		d.inside(`ln -sfn "$2" "$1/app"`, d.mnt, d.target(2))
		d.WantRestart(2)
	})
}

// mountWith mounts a file system with a link to an executable, which is elsewhere:
// the image that runs must not keep the file system busy.
const mountWith = `mount -t tmpfs tmpfs "$1"; ln -s "$2" "$1/app"`

// mountedDaemon is a daemon that is started by a link on a file system of its own,
// which no other process sees.
type mountedDaemon struct {
	*daemontest.Daemon
	dir, mnt string
}

func newMountedDaemon(t *testing.T) *mountedDaemon {
	for _, tool := range []string{"mount", "umount", "nsenter"} {
		testprocess.NeedTool(t, tool)
	}
	if !daemontest.HaveEvents && os.Getuid() != 0 {
		t.Skip("the owner of / is unknown in a user namespace, of which the fallback knows nothing")
	}
	d := program.New(t)
	dir := filepath.Dir(d.Path)
	m := &mountedDaemon{d, dir, filepath.Join(dir, "mnt")}
	d.Mkdir(m.mnt)
	d.StartedAs(filepath.Join(m.mnt, "app"))
	d.Cmd.Path = "/bin/sh"
	d.Cmd.Args = []string{"sh", "-euc", mountWith + `; exec "$1/app"`, "sh", m.mnt, m.target(1)}
	d.Cmd.SysProcAttr = ownMounts(t)
	return m
}

// target returns the path of a version beside the mount.
func (m *mountedDaemon) target(version int) string {
	m.T.Helper()
	path := filepath.Join(m.dir, strconv.Itoa(version))
	if _, err := os.Stat(path); err != nil {
		m.Write(path, daemontest.Image(m.T, version))
	}
	return path
}

// inside runs a script where the daemon's mounts are.
func (m *mountedDaemon) inside(script string, args ...string) {
	m.T.Helper()
	m.insideOf(m.PID(), script, args...)
}

// insideOf runs a script where the mounts of a process are.
func (m *mountedDaemon) insideOf(pid int, script string, args ...string) {
	m.T.Helper()
	enter := []string{"-t", strconv.Itoa(pid), "-m"}
	if m.Cmd.SysProcAttr.Cloneflags&unix.CLONE_NEWUSER != 0 {
		enter = append(enter, "-U", "--preserve-credentials")
	}
	testprocess.Run(m.T, "nsenter", append(append(enter, "sh", "-euc", script, "sh"), args...)...)
}

// watchingMount waits for the watch on the directory that the daemon sees.
func (m *mountedDaemon) watchingMount() {
	m.T.Helper()
	if daemontest.HaveEvents {
		testprocess.WaitFor(m.T, "watch on "+m.mnt, func() bool {
			return m.HasWatch(fmt.Sprintf("/proc/%d/root%s", m.PID(), m.mnt))
		})
	}
}

// ownMounts gives a process mounts of its own, and the right to make them.
func ownMounts(t *testing.T) *syscall.SysProcAttr {
	t.Helper()
	attr := &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS}
	if os.Getuid() != 0 {
		if err := forcefallback.UserNamespaces(); err != nil {
			t.Skip("no user namespaces here: ", err)
		}
		forcefallback.OwnUserNamespace(attr)
	}
	cmd := exec.Command("/bin/mount", "-t", "tmpfs", "tmpfs", t.TempDir())
	cmd.SysProcAttr = attr
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Skipf("no private mounts here: %v %s", err, output)
	}
	return attr
}
