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
	"time"

	"github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// A mount changes where the path leads, and nothing happens in a directory. The daemon
// runs base/mnt/app. The scripts have the arguments base, other and old: other/mnt/app
// is version 2, old/app is a link to version 1. pivot_root(2) sends its event before it
// has changed the root directory of the daemon. The unmount after it is another.
func TestMount(t *testing.T) {
	t.Parallel()
	const (
		replace = `cp "$4" "$1/mnt/new"; mv "$1/mnt/new" "$1/mnt/app"`
		remove  = `umount -l "$1/mnt/app"`
	)
	for _, tt := range []struct {
		name    string
		prepare string // before the start
		mount   string
		deploy  string // of version 3, whose file is the fourth argument
		version int    // unless it is 3
	}{
		{"over the directory", ``, `mount --bind "$2/mnt" "$1/mnt"`, replace, 0},
		{"over a directory above", ``, `mount --bind "$2" "$1"`, replace, 0},
		{"over the file", ``, `mount --bind "$2/mnt/app" "$1/mnt/app"`, remove, 1},
		{"moved", `cp "$2/mnt/app" "$2/app"; mount -t tmpfs tmpfs "$2/mnt"; mv "$2/app" "$2/mnt"`, `mount -n --move "$2/mnt" "$1/mnt"`, replace, 0},
		{"over a link", `rm "$1/mnt/app"; ln -s ../../old/app "$1/mnt/app"`,
			`mount --bind "$2/mnt" "$3"`, `cp "$4" "$3/new"; mv "$3/new" "$3/app"`, 0},
		{"unmounted", `cp "$2/mnt/app" "$1/mnt/new"; mv "$1/mnt/new" "$1/mnt/app"; mount --bind "$3" "$1/mnt"`,
			`umount "$1/mnt"`, replace, 0},
		{"unmounted lazily", `mount --bind "$3" "$1/mnt"`,
			`umount -l "$1/mnt"; mount --bind "$2/mnt" "$1/mnt"`, replace, 0},
		{"another root directory", `mkdir "$3/mounts"; mount --rbind / "$3/mounts"; mount --bind "$2/mnt" "$3/mounts/$1/mnt"`,
			`cd "$3/mounts"; pivot_root . "./$3"; umount -l ".$3"`, replace, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			testprocess.NeedTool(t, "pivot_root")
			m := newMountTree(t, tt.prepare)
			m.Start()
			m.watchingMount()
			m.inside(tt.mount, m.args...)
			m.WantRestart(2)
			m.watchingMount()
			m.inside(tt.deploy, m.args...)
			if tt.version == 0 {
				tt.version = 3
			}
			m.WantRestart(tt.version)
		})
	}
}

// A mount in another namespace counts if it comes into that of the daemon.
func TestPropagatedMount(t *testing.T) {
	t.Parallel()
	testprocess.NeedTool(t, "unshare")
	m := newMountTree(t, `mount --bind "$1" "$1"
		mount --make-shared "$1"
		sleep 1000 <>/dev/null >&0 2>&0 &
		echo $! >"$3/outside"
		exec unshare -m --propagation slave "$1/mnt/app"`)
	m.Start()
	outside := strings.TrimSpace(string(testprocess.ReadFile(t, m.args[2]+"/outside")))
	pid, err := strconv.Atoi(outside)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Kill(pid, syscall.SIGKILL) })
	m.watchingMount()
	m.insideOf(pid, `mount --bind "$2/mnt" "$1/mnt"`, m.args...)
	m.WantRestart(2)
}

// A file that is mounted by itself has its events where it was mounted from: the daemon polls.
func TestMountedFileWritten(t *testing.T) {
	t.Parallel()
	m := newMountTree(t, ``)
	m.Start()
	m.watchingMount()
	m.inside(`echo garbage >"$3/file"; mount --bind "$3/file" "$1/mnt/app"`, m.args...)
	m.WantLogged("a file that starts with")
	m.inside(`cp "$2/mnt/app" "$3/file"; chmod 755 "$3/file"`, m.args...)
	m.WantRestart(2)
}

// Without /proc no mount is an event: the daemon polls, and says so.
func TestMountWithoutProc(t *testing.T) {
	if !daemontest.HaveEvents {
		t.Skip("the fallback can't tell the path of a program that was started without /proc")
	}
	if os.Getuid() != 0 {
		t.Skip("needs root: without /proc a user namespace tells of no owner who it is")
	}
	t.Parallel()
	m := newMountTree(t, `mount -t tmpfs tmpfs /proc`)
	m.Start()
	m.watchingMount()
	m.WantLogged("watching without relying on events")
	m.WantLogged("polling every 1s: open /proc/self/mountinfo: no such file or directory")
	mounted := testprocess.StartStopwatch()
	m.inside(`mount --bind "$2/mnt" "$1/mnt"`, m.args...)
	m.WantRestart(2)
	wantSeenSoon(t, 2, mounted)
}

// While a version is rejected for a directory of its path, mounts elsewhere are no reason
// to look at it again. A mount that mends the path is.
func TestOtherMounts(t *testing.T) {
	needKernelTrust(t)
	t.Parallel()
	m := newMountTree(t, `mkdir "$2/nosuid"; mount -t tmpfs -o nosuid tmpfs "$2/nosuid"; cp "$4" "$2/nosuid/app"`)
	m.Start()
	m.watchingMount()
	start := time.Now()
	m.inside(`mount --bind "$2/nosuid" "$1/mnt"`, m.args...)
	wantRejected(m.Daemon, "a file that is on a file system mounted with nosuid")
	m.watchingMount()
	opened := testprocess.WatchOpens(t, fmt.Sprintf("/proc/%d/root%s/app", m.PID(), m.mnt))
	m.inside(`for i in $(seq 10); do mount --bind "$1" "$3"; umount "$3"; done`, m.args...)
	m.inside(`umount "$1/mnt"; mount --bind "$2/mnt" "$1/mnt"`, m.args...)
	m.WantRestart(2)
	if opened() && time.Since(start) < 15*time.Second { // then it is looked at again without a mount
		t.Error("the rejected file was opened again")
	}
}

// mountTree is a mountedDaemon with the tree of [TestMount].
type mountTree struct {
	*mountedDaemon
	args []string // of scripts
}

// newMountTree prepares a daemon that is started after a script, in a mount namespace of
// its own.
func newMountTree(t *testing.T, prepare string) *mountTree {
	m := &mountTree{mountedDaemon: newMountedDaemon(t)}
	base, other, old := filepath.Join(m.dir, "base"), filepath.Join(m.dir, "other"), filepath.Join(m.dir, "old")
	m.mnt = base + "/mnt"
	for _, dir := range []string{base, m.mnt, other, other + "/mnt", old} {
		m.Mkdir(dir)
	}
	m.Write(m.mnt+"/app", daemontest.Image(t, 1))
	m.Write(other+"/mnt/app", daemontest.Image(t, 2))
	m.Symlink(m.target(1), old+"/app")
	m.args = []string{base, other, old, m.target(3)}
	m.StartedAs(m.mnt + "/app")
	m.Cmd.Path = "/bin/sh"
	script := "mount --make-rprivate /\n" + prepare + "\n" + `exec "$1/mnt/app"`
	m.Cmd.Args = append([]string{"sh", "-euc", script, "sh"}, m.args...)
	return m
}
