//go:build linux

package integrationtest

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/daemontest/program"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

func TestSymlinkIsKept(t *testing.T) {
	d := program.New(t)
	dir := filepath.Dir(d.Path)
	for version := 1; version <= 3; version++ {
		d.Write(filepath.Join(dir, fmt.Sprintf("app-%d", version)), daemontest.Image(t, version))
	}
	flip := func(version int) {
		link := filepath.Join(dir, "link")
		if err := os.Symlink(fmt.Sprintf("app-%d", version), link+".new"); err != nil {
			t.Fatal(err)
		}
		d.Rename(link+".new", link)
	}
	flip(1)
	d.Cmd.Path = filepath.Join(dir, "link")
	d.Cmd.Args[0] = d.Cmd.Path
	d.Start()
	for _, version := range []int{2, 3, 1} {
		d.WaitForWatch()
		flip(version)
		d.WantRestart(version)
	}
	d.WaitForWatch()
	d.Write(filepath.Join(dir, "new"), daemontest.Image(t, 4))
	d.Rename(filepath.Join(dir, "new"), filepath.Join(dir, "app-1"))
	d.WantRestart(4)
}

// Each of the links on the way is flipped.
func TestSymlinkedDirectories(t *testing.T) {
	t.Parallel()
	d := program.New(t)
	base := filepath.Dir(d.Path)
	d.MoveTo(filepath.Join(base, "rel/1/bin/app"))
	for _, link := range []struct{ target, name string }{
		{"../rel/1", "link/current"},  // relative
		{base + "/link", "abs"},       // absolute, to a directory with a link
		{"abs/current/../1", "dots"},  // with dots behind a link
		{"./dots/bin/app", "started"}, // to the file
	} {
		if err := os.MkdirAll(filepath.Join(base, filepath.Dir(link.name)), 0o755); err != nil {
			t.Fatal(err)
		}
		d.Symlink(link.target, filepath.Join(base, link.name))
	}
	d.StartedAs(filepath.Join(base, "started"))
	d.Start()
	for i, flip := range []struct{ target, name string }{
		{"abs/current/../2", "dots"},
		{base + "/link3", "abs"},
		{"../rel4/1", "link3/current"},
		{"rel4/5/bin/app", "started"},
	} {
		version := i + 2
		dir := map[int]string{2: "rel/2/bin", 3: "rel3/2/bin", 4: "rel4/2/bin", 5: "rel4/5/bin"}[version]
		if err := os.MkdirAll(filepath.Join(base, dir), 0o755); err != nil {
			t.Fatal(err)
		}
		d.StageIn(filepath.Join(base, dir), version)
		switch version {
		case 3:
			d.Mkdir(filepath.Join(base, "link3"))
			d.Mkdir(filepath.Join(base, "rel3/1"))
			d.Symlink("../rel3/1", filepath.Join(base, "link3/current"))
		case 4:
			d.Mkdir(filepath.Join(base, "rel4/1"))
		}
		d.WaitForWatch()
		testprocess.Run(t, "ln", "-sfn", flip.target, filepath.Join(base, flip.name))
		d.WantRestart(version)
	}
	d.WaitForWatch()
	d.DeployVersion(6)
	d.WantRestart(6)
}

// With a directory for each release, nothing of the earlier ones may stay.
func TestReleasesLeakNoWatches(t *testing.T) {
	t.Parallel()
	d := program.New(t)
	base := filepath.Dir(d.Path)
	released(d)
	d.Start()
	want := strings.Count(d.Path, "/") + 1 // the directories that current leads to are two, not one
	for version := 2; version <= 6; version++ {
		d.WaitForWatch()
		dir := filepath.Join(base, "releases", strconv.Itoa(version))
		d.Mkdir(dir)
		d.StageIn(dir, version)
		testprocess.Run(t, "ln", "-sfn", "releases/"+strconv.Itoa(version), filepath.Join(base, "current"))
		d.WantRestart(version)
		d.WaitForWatch()
		if !daemontest.HaveEvents {
			continue
		}
		testprocess.WaitFor(t, fmt.Sprintf("state with %d watches", want), func() bool { return d.WatchCount() == want })
	}
}
