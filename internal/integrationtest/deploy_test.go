//go:build linux

package integrationtest

import (
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/daemontest/program"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// However it comes: one restart, onto the final bytes, in the same process.
func TestDeployed(t *testing.T) {
	t.Parallel()
	for _, way := range waysToDeploy {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			d := program.New(t)
			if way.layout != nil {
				way.layout(d)
			}
			staged := d.Stage(2)
			d.Start()
			d.WaitForWatch()
			way.deploy(d, staged)
			d.WantOneRestart(2)
		})
	}
}

// waysToDeploy are the tools and habits by which a new version comes.
var waysToDeploy = []struct {
	name   string
	layout func(d *daemontest.Daemon) // before the start; if nil, the file alone in a directory
	deploy func(d *daemontest.Daemon, staged string)
}{
	{"mv", nil, func(d *daemontest.Daemon, staged string) { testprocess.Run(d.T, "mv", staged, d.Path) }},
	{"mv from another file system", nil, func(d *daemontest.Daemon, staged string) {
		dir := d.T.TempDir()
		if deviceOf(d.T, dir) == deviceOf(d.T, d.Path) {
			d.T.Skip("no two file systems here")
		}
		testprocess.Run(d.T, "cp", staged, dir)
		testprocess.Run(d.T, "mv", filepath.Join(dir, "app"), d.Path)
	}},
	{"cp -f", nil, func(d *daemontest.Daemon, staged string) { testprocess.Run(d.T, "cp", "-f", staged, d.Path) }},
	{"cp --remove-destination", nil, func(d *daemontest.Daemon, staged string) {
		testprocess.Run(d.T, "cp", "--remove-destination", staged, d.Path)
	}},
	{"install", nil, func(d *daemontest.Daemon, staged string) { testprocess.Run(d.T, "install", "-m755", staged, d.Path) }},
	{"rsync", nil, func(d *daemontest.Daemon, staged string) {
		testprocess.NeedTool(d.T, "rsync")
		later(d.T, staged)
		testprocess.Run(d.T, "rsync", "-a", staged, d.Path)
	}},
	{"rsync of the directory", nil, func(d *daemontest.Daemon, staged string) {
		testprocess.NeedTool(d.T, "rsync")
		later(d.T, staged)
		testprocess.Run(d.T, "rsync", "-a", "--delete", "--delay-updates", filepath.Dir(staged)+"/", filepath.Dir(d.Path)+"/")
	}},
	{"tar", nil, func(d *daemontest.Daemon, staged string) {
		archive := filepath.Join(filepath.Dir(staged), "app.tar")
		testprocess.Run(d.T, "tar", "-C", filepath.Dir(staged), "-cf", archive, "app")
		testprocess.Run(d.T, "tar", "-C", filepath.Dir(d.Path), "-xf", archive)
	}},
	{"dpkg's pattern", nil, func(d *daemontest.Daemon, staged string) {
		testprocess.Shell(d.T, `cp "$1" "$2.dpkg-new"; ln "$2" "$2.dpkg-tmp"; mv "$2.dpkg-new" "$2"; rm "$2.dpkg-tmp"`, staged, d.Path)
	}},
	{"ln -f", nil, func(d *daemontest.Daemon, staged string) { testprocess.Run(d.T, "ln", "-f", staged, d.Path) }},
	{"rm, ln", nil, func(d *daemontest.Daemon, staged string) {
		testprocess.Shell(d.T, `rm "$2"; ln "$1" "$2"`, staged, d.Path)
	}},
	{"ln -sfn", linked, func(d *daemontest.Daemon, staged string) { testprocess.Run(d.T, "ln", "-sfn", staged, d.Path) }},
	{"ln -s, mv", linked, func(d *daemontest.Daemon, staged string) {
		testprocess.Shell(d.T, `ln -s "$1" "$2.new"; mv -T "$2.new" "$2"`, staged, d.Path)
	}},
	{"rm, ln -s", linked, func(d *daemontest.Daemon, staged string) {
		testprocess.Shell(d.T, `rm "$2"; ln -s "$1" "$2"`, staged, d.Path)
	}},
	{"releases/current, ln -sfn", released, func(d *daemontest.Daemon, staged string) {
		dir := release(d, staged)
		testprocess.Run(d.T, "ln", "-sfn", "releases/2", filepath.Join(dir, "current"))
	}},
	{"releases/current, mv -T", released, func(d *daemontest.Daemon, staged string) {
		dir := release(d, staged)
		testprocess.Shell(d.T, `cd "$1"; ln -s releases/2 next; mv -T next current; rm -r releases/1`, dir)
	}},
	{"..data", volume, func(d *daemontest.Daemon, staged string) {
		testprocess.Shell(d.T, `cd "$2"; mkdir ..2026_02; cp "$1" ..2026_02; ln -s ..2026_02 ..data_tmp; mv -T ..data_tmp ..data; rm -r ..2026_01`,
			staged, filepath.Dir(d.Path))
	}},
	{"directory renamed away and replaced", inSubdirectory, func(d *daemontest.Daemon, staged string) {
		testprocess.Shell(d.T, `mv "$2" "$2.old"; mv "$1" "$2"`, filepath.Dir(staged), filepath.Dir(d.Path))
	}},
	{"directory removed and made again", inSubdirectory, func(d *daemontest.Daemon, staged string) {
		testprocess.Shell(d.T, `rm -r "$2"; mkdir "$2"; cp "$1" "$2"`, staged, filepath.Dir(d.Path))
	}},
	{"cat, chmod +x", nil, func(d *daemontest.Daemon, staged string) {
		testprocess.Shell(d.T, `rm "$2"; umask 022; cat "$1" >"$2"; chmod +x "$2"`, staged, d.Path)
	}},
	{"chmod +x long afterwards", nil, func(d *daemontest.Daemon, staged string) {
		testprocess.Shell(d.T, `chmod -x "$1"; mv "$1" "$2"`, staged, d.Path)
		d.WantLogged("may not be executed")
		testprocess.Run(d.T, "chmod", "+x", d.Path)
	}},
	{"pieces, held open", nil, func(d *daemontest.Daemon, staged string) {
		inPieces(d, staged, `rm "$1"; install -m755 /dev/null "$1"; exec >>"$1"; for i in 0 1 2 3 4 5 6; do
			dd if="$2" bs="$3" count=1 skip=$i; sleep 0.01
		done`)
	}},
	{"pieces, reopened", nil, func(d *daemontest.Daemon, staged string) {
		inPieces(d, staged, `rm "$1"; install -m755 /dev/null "$1"; for i in 0 1 2 3 4 5 6; do
			dd if="$2" bs="$3" count=1 skip=$i >>"$1"; sleep 0.01
		done`)
	}},
	{"pieces, last one first", nil, func(d *daemontest.Daemon, staged string) {
		if !daemontest.HaveEvents {
			d.T.Skip("no event tells of a file that is open for writing")
		}
		// The file has its length from the beginning: only the writer tells that it
		// is not complete.
		inPieces(d, staged, `rm "$1"; install -m755 /dev/null "$1"; exec 3>>"$1"; for i in 6 5 4 3 2 1 0; do
			dd if="$2" of="$1" conv=notrunc bs="$3" count=1 skip=$i seek=$i; sleep 0.01
		done`)
	}},
}

// linked has the daemon started by a symbolic link to its file.
func linked(d *daemontest.Daemon) {
	dir := filepath.Dir(d.Path)
	d.MoveTo(filepath.Join(dir, "versions", "1"))
	d.Symlink("versions/1", filepath.Join(dir, "app"))
	d.StartedAs(filepath.Join(dir, "app"))
}

// released puts the daemon into releases/1, which current leads to.
func released(d *daemontest.Daemon) {
	dir := filepath.Dir(d.Path)
	d.MoveTo(filepath.Join(dir, "releases", "1", "app"))
	d.Symlink("releases/1", filepath.Join(dir, "current"))
	d.StartedAs(filepath.Join(dir, "current", "app"))
}

// release puts a staged version into releases/2.
func release(d *daemontest.Daemon, staged string) (dir string) {
	dir = filepath.Dir(filepath.Dir(d.Path))
	d.Mkdir(filepath.Join(dir, "releases", "2"))
	testprocess.Run(d.T, "cp", staged, filepath.Join(dir, "releases", "2", "app"))
	return dir
}

// volume lays the directory out as a Kubernetes volume.
func volume(d *daemontest.Daemon) {
	dir := filepath.Dir(d.Path)
	d.MoveTo(filepath.Join(dir, "..2026_01", "app"))
	d.Symlink("..2026_01", filepath.Join(dir, "..data"))
	d.Symlink("..data/app", filepath.Join(dir, "app"))
	d.StartedAs(filepath.Join(dir, "app"))
}

// inSubdirectory gives the daemon a directory that can be replaced.
func inSubdirectory(d *daemontest.Daemon) {
	d.MoveTo(filepath.Join(filepath.Dir(d.Path), "bin", "app"))
}

// inPieces runs a script that writes the staged version in seven pieces. The last
// one has the end of the ELF file and more.
func inPieces(d *daemontest.Daemon, staged, script string) {
	d.T.Helper()
	info, err := os.Stat(staged)
	if err != nil {
		d.T.Fatal(err)
	}
	testprocess.Shell(d.T, script, d.Path, staged, strconv.FormatInt(info.Size()/7+1, 10))
}

// later gives a file another time than any before, in whole seconds: versions are of one
// size, and rsync passes over files that don't differ in either.
func later(t testing.TB, name string) {
	t.Helper()
	mtime := laterStart.Add(time.Duration(laterFiles.Add(1)) * time.Second)
	if err := os.Chtimes(name, time.Time{}, mtime); err != nil {
		t.Fatal(err)
	}
}

var (
	laterStart = time.Now().Add(time.Hour)
	laterFiles atomic.Int64
)

func deviceOf(t testing.TB, name string) uint64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(name, &st); err != nil {
		t.Fatal(err)
	}
	return uint64(st.Dev)
}

// Which of them run, and for how long, is a matter of chance: each at most
// once, in their order, and the last one in the end.
func TestFiveVersionsInFiveMilliseconds(t *testing.T) {
	d := program.New(t)
	const last = 6
	var staged []string
	for version := 2; version <= last; version++ {
		staged = append(staged, d.Stage(version))
	}
	d.Start()
	d.WaitForWatch()
	for _, name := range staged {
		d.Rename(name, d.Path)
		time.Sleep(time.Millisecond)
	}
	for before := 1; before < last; before = d.Last.Version {
		d.Last = d.NextStart()
		if d.Last.Version <= before || d.Last.PID != d.PID() {
			t.Fatalf("version %d in process %d after version %d in process %d", d.Last.Version, d.Last.PID, before, d.PID())
		}
	}
	d.State()
	d.DeployVersion(last + 1)
	d.WantRestart(last + 1)
}
