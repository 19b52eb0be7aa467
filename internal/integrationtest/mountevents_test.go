//go:build linux

package integrationtest

import (
	"path/filepath"
	"testing"

	"github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// A mount changes where the path leads, and nothing happens in a directory. The daemon
// runs base/mnt/app. The scripts have the arguments base, other and old: other/mnt/app
// is version 2, old/app is a link to version 1.
func TestMount(t *testing.T) {
	const (
		replace = `cp "$4" "$1/mnt/new"; mv "$1/mnt/new" "$1/mnt/app"`
		remove  = `umount "$1/mnt/app"`
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
		{"moved", `mount -t tmpfs tmpfs "$2/mnt"; cp "$4" "$2/mnt/app"`, `mount --move "$2/mnt" "$1/mnt"`, replace, 0},
		{"over a link", `rm "$1/mnt/app"; ln -s ../../old/app "$1/mnt/app"`,
			`mount --bind "$2/mnt" "$3"`, `cp "$4" "$3/new"; mv "$3/new" "$3/app"`, 0},
		{"unmounted", `cp "$2/mnt/app" "$1/mnt/new"; mv "$1/mnt/new" "$1/mnt/app"; mount --bind "$3" "$1/mnt"`,
			`umount "$1/mnt"`, replace, 0},
		{"unmounted lazily", `mount --bind "$3" "$1/mnt"`,
			`umount -l "$1/mnt"; mount --bind "$2/mnt" "$1/mnt"`, replace, 0},
		{"another root directory", `mkdir "$3/root"; mount --rbind / "$3/root"; mount --bind "$2/mnt" "$3/root/$1/mnt"`,
			`cd "$3/root"; pivot_root . "./$3"`, replace, 0},
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
