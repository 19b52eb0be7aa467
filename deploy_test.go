//go:build linux

package autorestart

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// toolPackages tells which Debian package a tool is in, where that is not
// coreutils.
var toolPackages = map[string]string{
	"dpkg":     "dpkg",
	"dpkg-deb": "dpkg",
	"getcap":   "libcap2-bin",
	"go":       "golang-go",
	"mount":    "mount",
	"nsenter":  "util-linux",
	"rsync":    "rsync",
	"setcap":   "libcap2-bin",
	"sh":       "dash",
	"tar":      "tar",
	"umount":   "mount",
}

// needTool skips the test where a tool is missing. In CI it has to be there.
func needTool(t testing.TB, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err == nil {
		return
	}
	pkg := toolPackages[name]
	if pkg == "" {
		pkg = "coreutils"
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("no %s here: apt-get install %s", name, pkg)
	}
	t.Skipf("no %s here: apt-get install %s", name, pkg)
}

// run runs a tool, which must succeed.
func run(t testing.TB, name string, args ...string) {
	t.Helper()
	needTool(t, name)
	cmd := exec.Command(name, args...)
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, output)
	}
}

// shell runs a script with arguments.
func shell(t testing.TB, script string, args ...string) {
	t.Helper()
	run(t, "sh", append([]string{"-euc", script, "sh"}, args...)...)
}

// at moves the daemon, which has not been started, to another path.
func (d *daemon) at(path string) {
	d.t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		d.t.Fatal(err)
	}
	d.rename(d.path, path)
	d.startedAs(path)
}

// startedAs has the daemon started by a path that leads to its file.
func (d *daemon) startedAs(path string) {
	d.path = path
	d.cmd.Path, d.cmd.Args[0] = path, path
}

// stage writes a version into a directory of its own and returns its path.
func (d *daemon) stage(version int) string {
	d.t.Helper()
	return d.stageIn(memoryDir(d.t), version)
}

func (d *daemon) stageIn(dir string, version int) string {
	d.t.Helper()
	path := filepath.Join(dir, "app")
	d.write(path, image(d.t, version))
	return path
}

// wantOneRestart waits for the restart into a version, and shows with the next
// version that there was only one: the generations count.
func (d *daemon) wantOneRestart(version int) {
	d.t.Helper()
	d.wantRestart(version)
	d.watching()
	d.ask("state", "state")
	d.deploy(version + 1)
	d.wantRestart(version + 1)
	d.ask("state", "state")
}

func (d *daemon) mkdir(dir string) {
	d.t.Helper()
	if err := os.Mkdir(dir, 0o755); err != nil {
		d.t.Fatal(err)
	}
}

func (d *daemon) symlink(target, name string) {
	d.t.Helper()
	if err := os.Symlink(target, name); err != nil {
		d.t.Fatal(err)
	}
}

// linked has the daemon started by a symbolic link to its file.
func linked(d *daemon) {
	dir := filepath.Dir(d.path)
	d.at(filepath.Join(dir, "versions", "1"))
	d.symlink("versions/1", filepath.Join(dir, "app"))
	d.startedAs(filepath.Join(dir, "app"))
}

// released puts the daemon into releases/1, which current leads to.
func released(d *daemon) {
	dir := filepath.Dir(d.path)
	d.at(filepath.Join(dir, "releases", "1", "app"))
	d.symlink("releases/1", filepath.Join(dir, "current"))
	d.startedAs(filepath.Join(dir, "current", "app"))
}

// release puts a staged version into releases/2.
func release(d *daemon, staged string) (dir string) {
	dir = filepath.Dir(filepath.Dir(d.path))
	d.mkdir(filepath.Join(dir, "releases", "2"))
	run(d.t, "cp", staged, filepath.Join(dir, "releases", "2", "app"))
	return dir
}

// volume lays the directory out as a Kubernetes volume.
func volume(d *daemon) {
	dir := filepath.Dir(d.path)
	d.at(filepath.Join(dir, "..2026_01", "app"))
	d.symlink("..2026_01", filepath.Join(dir, "..data"))
	d.symlink("..data/app", filepath.Join(dir, "app"))
	d.startedAs(filepath.Join(dir, "app"))
}

// inSubdirectory gives the daemon a directory that can be replaced.
func inSubdirectory(d *daemon) {
	d.at(filepath.Join(filepath.Dir(d.path), "bin", "app"))
}

// waysToDeploy are the tools and habits by which a new version comes.
var waysToDeploy = []struct {
	name   string
	layout func(d *daemon) // before the start; if nil, the file alone in a directory
	deploy func(d *daemon, staged string)
}{
	{"mv", nil, func(d *daemon, staged string) { run(d.t, "mv", staged, d.path) }},
	{"mv from another file system", nil, func(d *daemon, staged string) {
		dir := d.t.TempDir()
		if deviceOf(d.t, dir) == deviceOf(d.t, d.path) {
			d.t.Skip("no two file systems here")
		}
		run(d.t, "cp", staged, dir)
		run(d.t, "mv", filepath.Join(dir, "app"), d.path)
	}},
	{"cp -f", nil, func(d *daemon, staged string) { run(d.t, "cp", "-f", staged, d.path) }},
	{"cp --remove-destination", nil, func(d *daemon, staged string) {
		run(d.t, "cp", "--remove-destination", staged, d.path)
	}},
	{"install", nil, func(d *daemon, staged string) { run(d.t, "install", "-m755", staged, d.path) }},
	{"rsync", nil, func(d *daemon, staged string) {
		needTool(d.t, "rsync")
		later(d.t, staged)
		run(d.t, "rsync", "-a", staged, d.path)
	}},
	{"rsync of the directory", nil, func(d *daemon, staged string) {
		needTool(d.t, "rsync")
		later(d.t, staged)
		run(d.t, "rsync", "-a", "--delete", "--delay-updates", filepath.Dir(staged)+"/", filepath.Dir(d.path)+"/")
	}},
	{"tar", nil, func(d *daemon, staged string) {
		archive := filepath.Join(filepath.Dir(staged), "app.tar")
		run(d.t, "tar", "-C", filepath.Dir(staged), "-cf", archive, "app")
		run(d.t, "tar", "-C", filepath.Dir(d.path), "-xf", archive)
	}},
	{"dpkg's pattern", nil, func(d *daemon, staged string) {
		shell(d.t, `cp "$1" "$2.dpkg-new"; ln "$2" "$2.dpkg-tmp"; mv "$2.dpkg-new" "$2"; rm "$2.dpkg-tmp"`, staged, d.path)
	}},
	{"ln -f", nil, func(d *daemon, staged string) { run(d.t, "ln", "-f", staged, d.path) }},
	{"rm, ln", nil, func(d *daemon, staged string) { shell(d.t, `rm "$2"; ln "$1" "$2"`, staged, d.path) }},
	{"ln -sfn", linked, func(d *daemon, staged string) { run(d.t, "ln", "-sfn", staged, d.path) }},
	{"ln -s, mv", linked, func(d *daemon, staged string) {
		shell(d.t, `ln -s "$1" "$2.new"; mv -T "$2.new" "$2"`, staged, d.path)
	}},
	{"rm, ln -s", linked, func(d *daemon, staged string) { shell(d.t, `rm "$2"; ln -s "$1" "$2"`, staged, d.path) }},
	{"releases/current, ln -sfn", released, func(d *daemon, staged string) {
		dir := release(d, staged)
		run(d.t, "ln", "-sfn", "releases/2", filepath.Join(dir, "current"))
	}},
	{"releases/current, mv -T", released, func(d *daemon, staged string) {
		dir := release(d, staged)
		shell(d.t, `cd "$1"; ln -s releases/2 next; mv -T next current; rm -r releases/1`, dir)
	}},
	{"..data", volume, func(d *daemon, staged string) {
		shell(d.t, `cd "$2"; mkdir ..2026_02; cp "$1" ..2026_02; ln -s ..2026_02 ..data_tmp; mv -T ..data_tmp ..data; rm -r ..2026_01`,
			staged, filepath.Dir(d.path))
	}},
	{"directory renamed away and replaced", inSubdirectory, func(d *daemon, staged string) {
		shell(d.t, `mv "$2" "$2.old"; mv "$1" "$2"`, filepath.Dir(staged), filepath.Dir(d.path))
	}},
	{"directory removed and made again", inSubdirectory, func(d *daemon, staged string) {
		shell(d.t, `rm -r "$2"; mkdir "$2"; cp "$1" "$2"`, staged, filepath.Dir(d.path))
	}},
	{"cat, chmod +x", nil, func(d *daemon, staged string) {
		shell(d.t, `rm "$2"; umask 022; cat "$1" >"$2"; chmod +x "$2"`, staged, d.path)
	}},
	{"chmod +x long afterwards", nil, func(d *daemon, staged string) {
		shell(d.t, `chmod -x "$1"; mv "$1" "$2"`, staged, d.path)
		d.wantLogged("may not be executed")
		run(d.t, "chmod", "+x", d.path)
	}},
	{"pieces, held open", nil, func(d *daemon, staged string) {
		inPieces(d, staged, `rm "$1"; install -m755 /dev/null "$1"; exec >>"$1"; for i in 0 1 2 3 4 5 6; do
			dd if="$2" bs="$3" count=1 skip=$i; sleep 0.01
		done`)
	}},
	{"pieces, reopened", nil, func(d *daemon, staged string) {
		inPieces(d, staged, `rm "$1"; install -m755 /dev/null "$1"; for i in 0 1 2 3 4 5 6; do
			dd if="$2" bs="$3" count=1 skip=$i >>"$1"; sleep 0.01
		done`)
	}},
	{"pieces, last one first", nil, func(d *daemon, staged string) {
		if !haveEvents {
			d.t.Skip("a file open for writing can't be told here")
		}
		// The file has its length from the beginning: only the writer tells that it
		// is not complete.
		inPieces(d, staged, `rm "$1"; install -m755 /dev/null "$1"; exec 3>>"$1"; for i in 6 5 4 3 2 1 0; do
			dd if="$2" of="$1" conv=notrunc bs="$3" count=1 skip=$i seek=$i; sleep 0.01
		done`)
	}},
}

// inPieces runs a script that writes the staged version in seven pieces. The last
// one has the end of the ELF file and more.
func inPieces(d *daemon, staged, script string) {
	d.t.Helper()
	info, err := os.Stat(staged)
	if err != nil {
		d.t.Fatal(err)
	}
	shell(d.t, script, d.path, staged, strconv.FormatInt(info.Size()/7+1, 10))
}

// later gives a file another time than any before: versions are of one size,
// and rsync passes over files that don't differ in either.
func later(t testing.TB, name string) {
	t.Helper()
	if err := os.Chtimes(name, time.Time{}, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
}

func deviceOf(t testing.TB, name string) uint64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(name, &st); err != nil {
		t.Fatal(err)
	}
	return uint64(st.Dev)
}

// However it comes: one restart, onto the final bytes, in the same process.
func TestDeployed(t *testing.T) {
	for _, way := range waysToDeploy {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			d := newDaemon(t)
			if way.layout != nil {
				way.layout(d)
			}
			staged := d.stage(2)
			d.start()
			d.watching()
			way.deploy(d, staged)
			d.wantOneRestart(2)
		})
	}
}

func TestDeployedByGoBuild(t *testing.T) {
	if testing.Short() {
		t.Skip("builds programs")
	}
	needTool(t, "go")
	if _, err := os.Stat("autorestart.go"); err != nil {
		t.Skip("nothing to build from: ", err)
	}
	for _, tmp := range []string{"same file system", "temporary directory"} {
		t.Run(tmp, func(t *testing.T) {
			t.Parallel()
			d := newDaemon(t)
			// The linker writes into GOTMPDIR. From there it is a rename, or a copy.
			gotmp := t.TempDir()
			if tmp == "same file system" {
				gotmp = memoryDir(t)
			}
			build := func(version int) {
				t.Helper()
				flags, poll := "-tags=", ""
				if !haveEvents {
					flags, poll = "-tags=autorestart_portable", " -X main.poll=10ms"
				}
				cmd := exec.Command("go", "build", "-o", d.path, flags, "-buildvcs=false",
					"-ldflags=-X main.version="+strconv.Itoa(version)+poll, "./testdata/deploy/daemon")
				cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOTMPDIR="+gotmp)
				if output, err := cmd.CombinedOutput(); err != nil {
					t.Fatalf("%v: %v\n%s", cmd, err, output)
				}
			}
			os.Remove(d.path)
			build(1)
			d.start()
			for version := 2; version <= 3; version++ {
				d.watching()
				build(version)
				d.wantRestart(version)
			}
			build(3) // the same bytes, if any
			d.watching()
			d.deploy(4)
			d.wantRestart(4)
		})
	}
}

// A package is installed over the one before, with dpkg's own checks and its
// own order of things.
func TestDeployedByDpkg(t *testing.T) {
	t.Parallel()
	needTool(t, "dpkg")
	needTool(t, "dpkg-deb")
	if os.Getuid() != 0 {
		t.Skip("dpkg installs for root alone")
	}
	d := newDaemon(t)
	root := memoryDir(t)
	for _, dir := range []string{"info", "updates", "triggers"} {
		if err := os.MkdirAll(filepath.Join(root, "var/lib/dpkg", dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "var/lib/dpkg/status"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	install := func(version int) {
		t.Helper()
		tree := memoryDir(t)
		if err := os.Chmod(tree, 0o755); err != nil {
			t.Fatal(err)
		}
		for _, dir := range []string{"DEBIAN", "opt", "opt/app"} {
			d.mkdir(filepath.Join(tree, dir))
		}
		d.stageIn(filepath.Join(tree, "opt/app"), version)
		control := fmt.Sprintf("Package: autorestart-test\nVersion: %d\nArchitecture: all\nMaintainer: Nobody <nobody@localhost>\nDescription: a daemon\n", version)
		if err := os.WriteFile(filepath.Join(tree, "DEBIAN/control"), []byte(control), 0o644); err != nil {
			t.Fatal(err)
		}
		deb := filepath.Join(memoryDir(t), "app.deb")
		run(t, "dpkg-deb", "-Znone", "--root-owner-group", "--build", tree, deb)
		run(t, "dpkg", "--root="+root, "--force-not-root", "--force-bad-path", "-i", deb)
	}
	install(1)
	d.startedAs(filepath.Join(root, "opt/app/app"))
	d.start()
	for version := 2; version <= 3; version++ {
		d.watching()
		install(version)
		d.wantRestart(version)
	}
	d.watching()
	d.deploy(4)
	d.wantRestart(4)
}

// Capabilities go with the file that is replaced. A new version that has not got
// them yet is not executed without.
func TestDeployedWithCapabilities(t *testing.T) {
	if !haveEvents {
		t.Skip("capabilities are Linux's")
	}
	needTool(t, "setcap")
	if os.Getuid() != 0 {
		t.Skip("setcap is for root alone")
	}
	setcap := func(t *testing.T, name string) {
		t.Helper()
		run(t, "setcap", "cap_net_bind_service=+ep", name)
	}
	t.Run("at once", func(t *testing.T) {
		t.Parallel()
		d := newDaemon(t)
		setcap(t, d.path)
		d.start()
		staged := d.stage(2)
		d.watching()
		run(t, "install", "-m755", staged, d.path)
		setcap(t, d.path)
		d.wantRestart(2)
		d.watching()
		d.write(d.path+".new", image(t, 3))
		setcap(t, d.path+".new")
		d.rename(d.path+".new", d.path)
		d.wantRestart(3)
	})
	t.Run("long afterwards", func(t *testing.T) {
		t.Parallel()
		d := newDaemon(t)
		setcap(t, d.path)
		d.start()
		d.watching()
		d.deploy(2)
		d.wantLogged("without capabilities")
		d.ask("state", "state")
		setcap(t, d.path)
		d.wantRestart(2)
	})
}

// Which of them run, and for how long, is a matter of chance: each at most
// once, in their order, and the last one in the end.
func TestFiveVersionsInFiveMilliseconds(t *testing.T) {
	d := newDaemon(t)
	const last = 6
	var staged []string
	for version := 2; version <= last; version++ {
		staged = append(staged, d.stage(version))
	}
	d.start()
	d.watching()
	for _, name := range staged {
		d.rename(name, d.path)
		time.Sleep(time.Millisecond)
	}
	for before := 1; before < last; before = d.last.Version {
		d.last = d.want("start")
		if d.last.Version <= before || d.last.PID != d.cmd.Process.Pid {
			t.Fatalf("version %d in process %d after version %d in process %d", d.last.Version, d.last.PID, before, d.cmd.Process.Pid)
		}
	}
	d.ask("state", "state")
	d.deploy(last + 1)
	d.wantRestart(last + 1)
}

// A directory of the path goes away, at every depth, and the path leads to a
// new version later. The executable is base/a/b/c/app.
func TestDirectoryGoesAway(t *testing.T) {
	for _, tt := range []struct {
		name   string
		goAway func(d *daemon, dir string)
		back   func(d *daemon, dir, bin, staged string) // bin is in dir, or dir itself
	}{
		{"removed", remove, makeAgain},
		{"removed, step by step", remove, makeAgainStepByStep},
		{"renamed away", renameAway, makeAgain},
		{"renamed away, seen", renameAwaySeen, makeAgain},
		{"renamed away, seen, step by step", renameAwaySeen, makeAgainStepByStep},
		{"renamed away and replaced", renameAway, replace},
		{"renamed away, seen, and replaced", renameAwaySeen, replace},
		{"renamed away and replaced by a link", renameAwaySeen, func(d *daemon, dir, bin, staged string) {
			d.symlink(filepath.Base(prepare(d, dir, bin, staged)), dir)
		}},
		{"renamed away and back", renameAway, renameBack},
		{"renamed away, seen, and back", renameAwaySeen, renameBack},
		{"exchanged", nil, func(d *daemon, dir, bin, staged string) {
			prepared := prepare(d, dir, bin, staged)
			if err := unix.Renameat2(unix.AT_FDCWD, prepared, unix.AT_FDCWD, dir, unix.RENAME_EXCHANGE); err != nil {
				d.t.Skip("renameat2: ", err)
			}
			d.trap(prepared, bin[len(dir):])
		}},
		{"replaced by a file", func(d *daemon, dir string) {
			remove(d, dir)
			d.write(dir, []byte("a file"))
		}, func(d *daemon, dir, bin, staged string) {
			if err := os.Remove(dir); err != nil {
				d.t.Fatal(err)
			}
			makeAgain(d, dir, bin, staged)
		}},
	} {
		for _, gone := range []string{"a", "a/b", "a/b/c"} {
			t.Run(tt.name+"/"+filepath.Base(gone), func(t *testing.T) {
				t.Parallel()
				d := newDaemon(t)
				base := filepath.Dir(d.path)
				d.at(filepath.Join(base, "a/b/c/app"))
				staged := d.stage(2)
				d.start()
				d.watching()
				dir, bin := filepath.Join(base, gone), filepath.Dir(d.path)
				if tt.goAway != nil {
					tt.goAway(d, dir)
				}
				tt.back(d, dir, bin, staged)
				if _, err := os.Stat(dir + ".old"); err == nil {
					d.trap(dir+".old", bin[len(dir):])
				}
				d.wantOneRestart(2)
				if _, err := os.Readlink(dir); err != nil {
					d.wantWatchesTo(d.path)
				}
			})
		}
	}
}

// remove leaves nothing that the daemon could notice: the image that runs keeps
// the directories alive.
func remove(d *daemon, dir string) { run(d.t, "rm", "-r", dir) }

func renameAway(d *daemon, dir string) { d.rename(dir, dir+".old") }

func renameAwaySeen(d *daemon, dir string) {
	renameAway(d, dir)
	d.wantWatchesTo(dir)
}

func renameBack(d *daemon, dir, bin, staged string) {
	d.rename(dir+".old", dir)
	d.rename(staged, d.path)
}

// trap deploys to a directory that has left the path.
func (d *daemon) trap(dir, sub string) {
	d.t.Helper()
	d.rename(d.stage(99), filepath.Join(dir, sub, "app"))
}

// replace puts a directory with the new version in the place of dir.
func replace(d *daemon, dir, bin, staged string) {
	d.rename(prepare(d, dir, bin, staged), dir)
}

func makeAgain(d *daemon, dir, bin, staged string) {
	shell(d.t, `mkdir -p "$1"; cp "$2" "$1/app"`, bin, staged)
}

// makeAgainStepByStep waits for the watch on each directory before it makes the
// next.
func makeAgainStepByStep(d *daemon, dir, bin, staged string) {
	for made := dir; ; made = filepath.Join(made, bin[len(made)+1:len(made)+2]) {
		d.mkdir(made)
		if haveEvents {
			waitFor(d.t, "watch on "+made, func() bool { return d.watches(made) })
		}
		if made == bin {
			break
		}
	}
	run(d.t, "cp", staged, d.path)
}

// prepare makes a directory beside dir that can take its place.
func prepare(d *daemon, dir, bin, staged string) string {
	prepared := dir + ".new"
	makeAgain(d, prepared, prepared+strings.TrimPrefix(bin, dir), staged)
	return prepared
}

// wantWatchesTo waits until the daemon has a watch for each step down to path,
// which passes through no link, and no other.
func (d *daemon) wantWatchesTo(path string) {
	d.t.Helper()
	if want := strings.Count(path, "/"); haveEvents {
		waitFor(d.t, fmt.Sprintf("%d watches", want), func() bool { return d.watchCount() == want })
	}
}

// With a directory for each release, nothing of the earlier ones may stay.
func TestReleasesLeakNoWatches(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	base := filepath.Dir(d.path)
	released(d)
	d.start()
	want := strings.Count(d.path, "/") + 1 // the directories that current leads to are two, not one
	for version := 2; version <= 6; version++ {
		d.watching()
		dir := filepath.Join(base, "releases", strconv.Itoa(version))
		d.mkdir(dir)
		d.stageIn(dir, version)
		run(t, "ln", "-sfn", "releases/"+strconv.Itoa(version), filepath.Join(base, "current"))
		d.wantRestart(version)
		d.watching()
		if !haveEvents {
			continue
		}
		waitFor(t, fmt.Sprintf("state with %d watches", want), func() bool { return d.watchCount() == want })
	}
}

// Each of the links on the way is flipped.
func TestSymlinkedDirectories(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	base := filepath.Dir(d.path)
	d.at(filepath.Join(base, "rel/1/bin/app"))
	for _, link := range []struct{ target, name string }{
		{"../rel/1", "link/current"},  // relative
		{base + "/link", "abs"},       // absolute, to a directory with a link
		{"abs/current/../1", "dots"},  // with dots behind a link
		{"./dots/bin/app", "started"}, // to the file
	} {
		if err := os.MkdirAll(filepath.Join(base, filepath.Dir(link.name)), 0o755); err != nil {
			t.Fatal(err)
		}
		d.symlink(link.target, filepath.Join(base, link.name))
	}
	d.startedAs(filepath.Join(base, "started"))
	d.start()
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
		d.stageIn(filepath.Join(base, dir), version)
		switch version {
		case 3:
			d.mkdir(filepath.Join(base, "link3"))
			d.mkdir(filepath.Join(base, "rel3/1"))
			d.symlink("../rel3/1", filepath.Join(base, "link3/current"))
		case 4:
			d.mkdir(filepath.Join(base, "rel4/1"))
		}
		d.watching()
		run(t, "ln", "-sfn", flip.target, filepath.Join(base, flip.name))
		d.wantRestart(version)
	}
	d.watching()
	d.deploy(6)
	d.wantRestart(6)
}

// The file system of a directory on the way is unmounted: the path leads to the
// directory below, and later to whatever is mounted there. No event tells of a
// mount.
func TestUnmounted(t *testing.T) {
	t.Run("deployed below", func(t *testing.T) {
		t.Parallel()
		d := newMountedDaemon(t)
		d.start()
		d.watchingMount()
		d.inside(`umount "$1"`, d.mnt)
		d.watchingMount()
		d.symlink(d.target(2), d.path)
		d.wantRestart(2)
	})
	t.Run("mounted again", func(t *testing.T) {
		t.Parallel()
		d := newMountedDaemon(t)
		d.start()
		d.watchingMount()
		d.inside(`umount "$1"`, d.mnt)
		d.watchingMount()
		d.inside(mountWith, d.mnt, d.target(2))
		d.wantRestart(2)
	})
	t.Run("mounted again with the same version", func(t *testing.T) {
		t.Parallel()
		d := newMountedDaemon(t)
		d.start()
		d.watchingMount()
		d.inside(`umount "$1"`, d.mnt)
		d.watchingMount()
		d.inside(mountWith, d.mnt, d.target(1))
		d.watchingMount()
		d.inside(`ln -sfn "$2" "$1/app"`, d.mnt, d.target(2))
		d.wantRestart(2)
	})
}

// mountWith mounts a file system with a link to an executable. The image itself
// must not keep the file system busy.
const mountWith = `mount -t tmpfs tmpfs "$1"; ln -s "$2" "$1/app"`

// mountedDaemon is started by a link on a file system of its own, which it alone
// sees.
type mountedDaemon struct {
	*daemon
	dir, mnt string
}

func newMountedDaemon(t *testing.T) *mountedDaemon {
	for _, tool := range []string{"mount", "umount", "nsenter"} {
		needTool(t, tool)
	}
	d := newDaemon(t)
	dir := filepath.Dir(d.path)
	m := &mountedDaemon{d, dir, filepath.Join(dir, "mnt")}
	d.mkdir(m.mnt)
	d.startedAs(filepath.Join(m.mnt, "app"))
	d.cmd.Path = "/bin/sh"
	d.cmd.Args = []string{"sh", "-euc", mountWith + `; exec "$1/app"`, "sh", m.mnt, m.target(1)}
	d.cmd.SysProcAttr = ownMounts(t)
	return m
}

// target returns the path of a version beside the mount.
func (m *mountedDaemon) target(version int) string {
	m.t.Helper()
	path := filepath.Join(m.dir, strconv.Itoa(version))
	if _, err := os.Stat(path); err != nil {
		m.write(path, image(m.t, version))
	}
	return path
}

// inside runs a script where the daemon's mounts are.
func (m *mountedDaemon) inside(script string, args ...string) {
	m.t.Helper()
	enter := []string{"-t", strconv.Itoa(m.cmd.Process.Pid), "-m"}
	if m.cmd.SysProcAttr.Cloneflags&unix.CLONE_NEWUSER != 0 {
		enter = append(enter, "-U", "--preserve-credentials")
	}
	run(m.t, "nsenter", append(append(enter, "sh", "-euc", script, "sh"), args...)...)
}

// watchingMount waits for the watch on the directory that the daemon sees.
func (m *mountedDaemon) watchingMount() {
	m.t.Helper()
	if haveEvents {
		waitFor(m.t, "watch on "+m.mnt, func() bool {
			return m.watches(fmt.Sprintf("/proc/%d/root%s", m.cmd.Process.Pid, m.mnt))
		})
	}
}

// ownMounts gives a process mounts of its own, and the right to make them.
func ownMounts(t *testing.T) *syscall.SysProcAttr {
	t.Helper()
	attr := &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS}
	if os.Getuid() != 0 {
		if err := userNamespaces(); err != nil {
			t.Skip("no user namespaces here: ", err)
		}
		inOwnUserNamespace(attr)
	}
	cmd := exec.Command("/bin/mount", "-t", "tmpfs", "tmpfs", t.TempDir())
	cmd.SysProcAttr = attr
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Skipf("no private mounts here: %v %s", err, output)
	}
	return attr
}

// The events of a deploy are lost because others have filled the queue.
func TestEventQueueOverflows(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("/proc/sys/fs/inotify/max_queued_events")
	if err != nil {
		t.Skip(err)
	}
	limit, err := strconv.Atoi(string(bytes.TrimSpace(b)))
	if err != nil {
		t.Fatal(err)
	}
	if limit > 1<<20 {
		t.Skip("more events than a test should make: ", limit)
	}
	d := newDaemon(t)
	staged := d.stage(2)
	d.start()
	d.watching()
	d.stop()
	for i := range limit/2 + 1 { // created, closed
		name := filepath.Join(filepath.Dir(d.path), "other-"+strconv.Itoa(i))
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	d.rename(staged, d.path)
	d.resume()
	d.wantOneRestart(2)
}

// stop has the daemon do nothing until it is resumed.
func (d *daemon) stop() {
	d.t.Helper()
	d.signal(syscall.SIGSTOP)
	waitFor(d.t, "stopped daemon", func() bool {
		stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", d.cmd.Process.Pid))
		_, state, _ := bytes.Cut(stat, []byte(") "))
		return bytes.HasPrefix(state, []byte("T"))
	})
}

func (d *daemon) resume() {
	d.t.Helper()
	d.signal(syscall.SIGCONT)
}

func (d *daemon) signal(sig os.Signal) {
	d.t.Helper()
	if err := d.cmd.Process.Signal(sig); err != nil {
		d.t.Fatal(err)
	}
}
