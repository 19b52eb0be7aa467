//go:build linux

package integrationtest

import (
	"path/filepath"
	"strconv"
	"testing"

	"github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/daemontest/program"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// A daemon is started by a relative path in a directory that a symbolic link leads to. The
// shell knows the link, and flipping it deploys.
func TestStartedInLinkedDirectory(t *testing.T) {
	t.Parallel()
	for _, way := range []struct{ name, script string }{
		{"./app", `cd "$1/current"; exec ./app`},
		{"dots", `cd "$1/current/lib"; exec ../app`},
		{"dots before the link", `cd "$1/releases"; exec ../current/app`},
		{"below the link", `cd "$1"; exec current/app`},
		{"PATH", `cd "$1/current"; PATH=lib/..:/bin:/usr/bin; exec app`},
		{"PATH with an empty entry", `cd "$1/current"; PATH=:/bin:/usr/bin; exec app`},
	} {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			d := program.New(t)
			base := filepath.Dir(d.Path)
			released(d)
			d.Mkdir(filepath.Join(base, "releases/1/lib"))
			d.Cmd.Path = "/bin/sh"
			d.Cmd.Args = []string{"sh", "-euc", way.script, "sh", base}
			d.Start()
			for version := 2; version <= 4; version++ {
				d.WaitForWatch()
				flipRelease(d, version)
				d.WantRestart(version)
				if version == 2 {
					// Where the daemon is by then makes no difference.
					d.WantAnswer("chdir /", "<nil>")
				}
			}
		})
	}
}

// flipRelease stages a version in a directory of its own, and has current lead to that.
func flipRelease(d *daemontest.Daemon, version int) {
	d.T.Helper()
	base := filepath.Dir(filepath.Dir(d.Path))
	release := filepath.Join("releases", strconv.Itoa(version))
	d.Mkdir(filepath.Join(base, release))
	d.Mkdir(filepath.Join(base, release, "lib"))
	d.StageIn(filepath.Join(base, release), version)
	testprocess.Run(d.T, "ln", "-sfn", release, filepath.Join(base, "current"))
}
