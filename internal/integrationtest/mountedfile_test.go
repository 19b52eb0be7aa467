//go:build linux

package integrationtest

import (
	"strings"
	"testing"

	"github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/daemontest/program"
)

// The beginning of the line about a path that can't be followed.
const loggedMountedFile = "a version that is renamed over the executable will not be noticed: the file is mounted by itself"

// A file that is mounted elsewhere by itself, as by Docker's -v or systemd's BindReadOnlyPaths=, stays
// the same file there when another one is put in its place. The daemon says so.
func TestMountedFileReplacedElsewhere(t *testing.T) {
	if !daemontest.HaveEvents {
		t.Skip("other systems have no file mounts")
	}
	t.Parallel()
	for _, test := range []struct{ name, watch string }{
		{"restart", "watch"},
		{"notify", "notify"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			m := newMountTree(t, `mount --bind "$3/app" "$1/mnt/app"`)
			m.Setenv(program.ManualEnv + "=1")
			m.Start()
			m.Tell(test.watch)
			m.watchingMount()
			m.WantLogged(loggedMountedFile)
			if log := m.Log(); strings.Count(log, loggedMountedFile) != 1 {
				t.Errorf("want one line, got %s", log)
			}
			if test.watch == "notify" {
				return
			}
			m.Rename(m.target(2), m.target(1)) // is not seen
			m.inside(`umount -l "$1/mnt/app"; mount --bind "$4" "$1/mnt/app"`, m.args...)
			m.WantRestart(3)
		})
	}
}

// A file that is mounted over itself is replaced with its mount.
func TestFileMountedOverItself(t *testing.T) {
	t.Parallel()
	m := newMountTree(t, `mount --bind "$1/mnt/app" "$1/mnt/app"`)
	m.Start()
	m.watchingMount()
	m.Rename(m.target(2), m.mnt+"/app")
	m.WantRestart(2)
	if strings.Contains(m.Log(), loggedMountedFile) {
		t.Errorf("logged: %s", m.Log())
	}
}

// Without /proc it can't be told where a file is mounted from.
func TestMountedFileWithoutProc(t *testing.T) {
	if !daemontest.HaveEvents {
		t.Skip("the fallback can't tell the path of a program that was started without /proc")
	}
	t.Parallel()
	m := newMountTree(t, `mount --bind "$3/app" "$1/mnt/app"; mount -t tmpfs tmpfs /proc`)
	m.Start()
	m.WantLogged("watching without relying on events")
	if strings.Contains(m.Log(), loggedMountedFile) {
		t.Errorf("logged: %s", m.Log())
	}
}
