//go:build linux

package integrationtest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/daemontest/program"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// A directory of the path goes away, at every depth, and the path leads to a
// new version later. The executable is base/a/b/c/app.
func TestDirectoryGoesAway(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		goAway func(d *daemontest.Daemon, dir string)
		back   func(d *daemontest.Daemon, dir, bin, staged string) // bin is in dir, or dir itself
	}{
		{"removed", remove, makeAgain},
		{"removed, step by step", remove, makeAgainStepByStep},
		{"renamed away", renameAway, makeAgain},
		{"renamed away, seen", renameAwaySeen, makeAgain},
		{"renamed away, seen, step by step", renameAwaySeen, makeAgainStepByStep},
		{"renamed away and replaced", renameAway, replace},
		{"renamed away, seen, and replaced", renameAwaySeen, replace},
		{"renamed away and replaced by a link", renameAwaySeen, func(d *daemontest.Daemon, dir, bin, staged string) {
			d.Symlink(filepath.Base(prepare(d, dir, bin, staged)), dir)
		}},
		{"renamed away and back", renameAway, renameBack},
		{"renamed away, seen, and back", renameAwaySeen, renameBack},
		{"exchanged", nil, func(d *daemontest.Daemon, dir, bin, staged string) {
			prepared := prepare(d, dir, bin, staged)
			if err := unix.Renameat2(unix.AT_FDCWD, prepared, unix.AT_FDCWD, dir, unix.RENAME_EXCHANGE); err != nil {
				d.T.Skip("renameat2: ", err)
			}
			trap(d, prepared, bin[len(dir):])
		}},
		{"replaced by a file", func(d *daemontest.Daemon, dir string) {
			remove(d, dir)
			d.Write(dir, []byte("a file"))
		}, func(d *daemontest.Daemon, dir, bin, staged string) {
			if err := os.Remove(dir); err != nil {
				d.T.Fatal(err)
			}
			makeAgain(d, dir, bin, staged)
		}},
	} {
		for _, gone := range []string{"a", "a/b", "a/b/c"} {
			t.Run(tt.name+"/"+filepath.Base(gone), func(t *testing.T) {
				t.Parallel()
				d := program.New(t)
				base := filepath.Dir(d.Path)
				d.MoveTo(filepath.Join(base, "a/b/c/app"))
				staged := d.Stage(2)
				d.Start()
				d.WaitForWatch()
				dir, bin := filepath.Join(base, gone), filepath.Dir(d.Path)
				if tt.goAway != nil {
					tt.goAway(d, dir)
				}
				tt.back(d, dir, bin, staged)
				if _, err := os.Stat(dir + ".old"); err == nil {
					trap(d, dir+".old", bin[len(dir):])
				}
				d.WantOneRestart(2)
				if _, err := os.Readlink(dir); err != nil {
					wantWatchesTo(d, d.Path)
				}
			})
		}
	}
}

// remove gives the daemon no event: the image that runs keeps the directories alive.
func remove(d *daemontest.Daemon, dir string) { testprocess.Run(d.T, "rm", "-r", dir) }

func renameAway(d *daemontest.Daemon, dir string) { d.Rename(dir, dir+".old") }

func renameAwaySeen(d *daemontest.Daemon, dir string) {
	renameAway(d, dir)
	wantWatchesTo(d, dir)
}

func renameBack(d *daemontest.Daemon, dir, bin, staged string) {
	d.Rename(dir+".old", dir)
	d.Rename(staged, d.Path)
}

// trap deploys to a directory that has left the path.
func trap(d *daemontest.Daemon, dir, sub string) {
	d.T.Helper()
	d.Rename(d.Stage(99), filepath.Join(dir, sub, "app"))
}

// replace puts a directory with the new version in the place of dir.
func replace(d *daemontest.Daemon, dir, bin, staged string) {
	d.Rename(prepare(d, dir, bin, staged), dir)
}

func makeAgain(d *daemontest.Daemon, dir, bin, staged string) {
	testprocess.Shell(d.T, `mkdir -p "$1"; cp "$2" "$1/app"`, bin, staged)
}

// makeAgainStepByStep waits for the watch on each directory before it makes the
// next.
func makeAgainStepByStep(d *daemontest.Daemon, dir, bin, staged string) {
	for made := dir; ; made = filepath.Join(made, bin[len(made)+1:len(made)+2]) {
		d.Mkdir(made)
		if daemontest.HaveEvents {
			testprocess.WaitFor(d.T, "watch on "+made, func() bool { return d.HasWatch(made) })
		}
		if made == bin {
			break
		}
	}
	testprocess.Run(d.T, "cp", staged, d.Path)
}

// prepare makes a directory beside dir that can take its place.
func prepare(d *daemontest.Daemon, dir, bin, staged string) string {
	prepared := dir + ".new"
	makeAgain(d, prepared, prepared+strings.TrimPrefix(bin, dir), staged)
	return prepared
}

// wantWatchesTo waits until the daemon has a watch for each step down to path,
// which passes through no link, and no other.
func wantWatchesTo(d *daemontest.Daemon, path string) {
	d.T.Helper()
	if want := strings.Count(path, "/"); daemontest.HaveEvents {
		testprocess.WaitFor(d.T, fmt.Sprintf("%d watches", want), func() bool { return d.WatchCount() == want })
	}
}
