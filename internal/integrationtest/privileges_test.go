//go:build linux

package integrationtest

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/daemontest/program"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// nobody is the user who starts the privileged daemons.
const nobody = 65534

// newPrivileged prepares a daemon whose executable, in a directory that root alone can
// write, gives nobody more rights: prepare sets them.
func newPrivileged(t *testing.T, prepare func(path string)) *daemontest.Daemon {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root to make a privileged program")
	}
	d := program.New(t)
	d.StartedAs(filepath.Join(plainDir(t), "app"))
	d.Write(d.Path, daemontest.Image(t, 1))
	prepare(d.Path)
	d.Cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	if !daemontest.HaveEvents { // the system does not tell the path
		d.Setenv(program.PathEnv + "=" + d.Path)
	}
	return d
}

// plainDir returns a new directory that everybody can look into, and not in memory, which
// may be mounted nosuid.
func plainDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "autorestart")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	chmod(t, dir, 0o755)
	return dir
}

func chmod(t *testing.T, name string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(name, mode); err != nil {
		t.Fatal(err)
	}
}

func setuid(t *testing.T) func(path string) {
	return func(path string) { chmod(t, path, 0o755|os.ModeSetuid) }
}

// deployPrivileged puts a version in place that prepare gives its rights.
func deployPrivileged(d *daemontest.Daemon, version int, prepare func(path string)) {
	d.T.Helper()
	d.Write(d.Path+".new", daemontest.Image(d.T, version))
	prepare(d.Path + ".new")
	d.Rename(d.Path+".new", d.Path)
}

// The user nobody starts a program of root's by a symbolic link, and flips that later.
func TestSetuidIgnoresTheLinkOfItsStarter(t *testing.T) {
	d := newPrivileged(t, setuid(t))
	own := plainDir(t)
	link := filepath.Join(own, "link")
	d.Symlink(d.Path, link)
	if err := os.Chown(own, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	path := d.Path
	d.StartedAs(link)
	d.Start()
	// A program that belongs to root.
	d.Symlink(d.StageIn(plainDir(t), 2), link+".new")
	d.Rename(link+".new", link)
	d.Path = path
	deployPrivileged(d, 3, setuid(t))
	d.WantRestart(3)
}

// Nor does the directory that the program is started in decide anything.
func TestSetuidIgnoresTheDirectoryOfItsStarter(t *testing.T) {
	d := newPrivileged(t, setuid(t))
	d.Cmd.Dir = plainDir(t)
	d.StageIn(d.Cmd.Dir, 2)
	d.Setenv(program.ManualEnv + "=1")
	d.Start()
	reason := d.Ask("restart-from app", "failed")
	if want := "autorestart: the working directory is that of a starter with fewer rights; set Path to an absolute one"; reason != want {
		t.Errorf("Restart with a relative Path: %s; want %s", reason, want)
	}
}

// A user can set the variable for a program with file capabilities, too.
func TestForgedHandoverIsRefused(t *testing.T) {
	d := newCapable(t)
	path := d.Path
	d.StartedAs("/bin/sh")
	d.Cmd.Args = []string{"sh", "-c", `AUTORESTART_HANDOVER=pid=$$,generation=7, exec "$0"`, path}
	d.Path = path
	d.Start()
	d.WantAnswer("generation", "0")
	d.WaitForWatch()
	d.WantLogged("ignored what the environment says of a restart")
}

// A program with file capabilities hands over to the next one that has them.
func TestFileCapabilitiesHandOver(t *testing.T) {
	d := newCapable(t)
	d.Start()
	d.WantAnswer("set-state counter 1", "")
	d.WantAnswer("pass pipe one", "<nil>")
	for version := 2; version <= 4; version++ {
		deployPrivileged(d, version, setcap(t))
		d.WantRestart(version)
		d.WantAnswer("get-state counter", "1, true")
	}
	d.WantAnswer("inherit pipe", "one, <nil>")
	d.WantAnswer("generation", "3")
}

// newCapable prepares a daemon that may listen on ports that others may not.
func newCapable(t *testing.T) *daemontest.Daemon {
	t.Helper()
	if !daemontest.HaveEvents {
		t.Skip("without AT_SECURE, file capabilities can't be told from those of the starter")
	}
	testprocess.NeedTool(t, "setcap")
	return newPrivileged(t, setcap(t))
}

func setcap(t *testing.T) func(path string) {
	return func(path string) { testprocess.Run(t, "setcap", "cap_net_bind_service=+ep", path) }
}
