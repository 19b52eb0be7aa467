//go:build linux

package autorestart

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// fromEnv returns a number that a longer run gives in the environment.
func fromEnv(t testing.TB, key string, otherwise int) int {
	t.Helper()
	value := os.Getenv(key)
	if value == "" {
		return otherwise
	}
	n, err := strconv.Atoi(value)
	if err != nil {
		t.Fatalf("%s: %v", key, err)
	}
	return n
}

// TestRandomDeploys deploys at random moments in random ways. Every image
// that starts is a whole version, newer than the one before, in the same process;
// the last one runs within a second.
//
// It is the short form of
//
//	AUTORESTART_TEST_DEPLOYS=1000 go test -run TestRandomDeploys
//
// and prints its seed; AUTORESTART_TEST_SEED has it start from that one.
func TestRandomDeploys(t *testing.T) {
	deploys := fromEnv(t, "AUTORESTART_TEST_DEPLOYS", 60)
	seed := fromEnv(t, "AUTORESTART_TEST_SEED", int(time.Now().UnixNano()%1e9))
	t.Logf("AUTORESTART_TEST_SEED=%d", seed)
	s := newSoak(t, uint64(seed))
	d := s.d
	d.start()
	var slowest time.Duration
	restarts := 0
	for range deploys {
		way := soakWays[s.rand.IntN(len(soakWays))]
		s.next(way.name)
		way.deploy(s)
		deployed := time.Now()
		s.noise()
		if s.rand.IntN(20) == 0 || s.version == deploys+1 {
			for d.last.Version < s.version {
				s.started(d.want("start"))
				restarts++
			}
			took := time.Since(deployed)
			slowest = max(slowest, took)
			if took > time.Second {
				t.Errorf("version %d (%s) ran %v after it was deployed, limit 1s", s.version, way.name, took)
			}
		}
		for waiting := true; waiting; {
			select {
			case r := <-d.reports:
				s.started(r)
				restarts++
			default:
				waiting = false
			}
		}
		time.Sleep(time.Duration(s.rand.Int64N(int64(30 * time.Millisecond)))) // the moment is random too
	}
	d.deploy(s.version + 1)
	d.wantRestart(s.version + 1)
	t.Logf("%d deploys, %d restarts, slowest %v", deploys, restarts, slowest)
}

// soak is a daemon at base/current/bin/app, where current is a symbolic link to
// base/releases/N, and the versions that are deployed there.
type soak struct {
	t       *testing.T
	d       *daemon
	rand    *rand.Rand
	base    string
	far     string   // a directory on another file system, where there is one
	version int      // the last one
	content []byte   // of that version
	ways    []string // by which each version was deployed
}

func newSoak(t *testing.T, seed uint64) *soak {
	d := newDaemon(t)
	s := &soak{
		t:       t,
		d:       d,
		rand:    rand.New(rand.NewPCG(seed, 0)),
		base:    filepath.Dir(d.path),
		far:     t.TempDir(),
		version: 1,
		content: image(t, 1),
		ways:    []string{"", ""},
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("version %d ran, deployed after it: %s", d.last.Version, strings.Join(s.ways[d.last.Version+1:], ", "))
		}
	})
	d.at(filepath.Join(s.base, "releases/1/bin/app"))
	d.symlink("releases/1", s.current())
	d.startedAs(filepath.Join(s.current(), "bin/app"))
	d.mkdir(filepath.Join(s.base, "staged"))
	return s
}

func (s *soak) current() string { return filepath.Join(s.base, "current") }

// next prepares the next version, and clears away what no earlier one needs.
func (s *soak) next(way string) {
	s.version++
	s.ways = append(s.ways, way)
	copy(s.content[len(s.content)-trailerSize:], versionTrailer(s.version))
	os.RemoveAll(s.stagedIn(filepath.Join(s.base, "staged"), s.version-3))
}

func (s *soak) stagedIn(dir string, version int) string {
	return filepath.Join(dir, strconv.Itoa(version))
}

// staged writes the version beside the path.
func (s *soak) staged() string {
	name := s.stagedIn(filepath.Join(s.base, "staged"), s.version)
	s.d.write(name, s.content)
	return name
}

// started judges the report of an image that has started.
func (s *soak) started(r status) {
	s.t.Helper()
	last := s.d.last
	oldest := last.Version + 1
	if !haveEvents {
		// Nothing holds the image of a process here. If the file changes while it is
		// executed, it is another one for all that the process can tell.
		oldest = last.Version
	}
	if r.Event != "start" || r.PID != s.d.cmd.Process.Pid || r.Generation != last.Generation+1 ||
		r.Version < oldest || r.Version > s.version {
		s.t.Fatalf("%q: version %d, generation %d in process %d after version %d, generation %d in process %d; deployed are %d (%s)",
			r.Event, r.Version, r.Generation, r.PID, last.Version, last.Generation, s.d.cmd.Process.Pid,
			s.version, strings.Join(s.ways[last.Version+1:], ", "))
	}
	s.d.last = r
}

func (s *soak) rename(from, to string) { s.d.rename(from, to) }

func (s *soak) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *soak) pause(limit time.Duration) {
	time.Sleep(time.Duration(s.rand.Int64N(int64(limit))))
}

// noise is what happens to a file that nobody deploys.
func (s *soak) noise() {
	switch s.rand.IntN(8) {
	case 0:
		now := time.Now()
		s.must(os.Chtimes(s.d.path, now, now))
	case 1:
		s.must(os.Chmod(s.d.path, 0o755))
	case 2:
		other := s.d.path + ".other"
		s.must(os.WriteFile(other, []byte("other"), 0o644))
		s.must(os.Remove(other))
	}
}

var soakWays = []struct {
	name   string
	deploy func(s *soak)
}{
	{"rename", (*soak).byRename},
	{"cp -f", func(s *soak) { run(s.t, "cp", "-f", s.staged(), s.d.path) }},
	{"cp --remove-destination", func(s *soak) { run(s.t, "cp", "--remove-destination", s.staged(), s.d.path) }},
	{"install", func(s *soak) { run(s.t, "install", "-m755", s.staged(), s.d.path) }},
	{"rsync", func(s *soak) {
		if _, err := exec.LookPath("rsync"); err != nil {
			s.byRename()
			return
		}
		staged := s.staged()
		// A time of its own, in seconds too: see later.
		s.must(os.Chtimes(staged, time.Time{}, time.Now().Add(time.Duration(s.version)*time.Minute)))
		run(s.t, "rsync", "-a", staged, s.d.path)
	}},
	{"mv from another file system", func(s *soak) {
		far := filepath.Join(s.far, "app")
		s.d.write(far, s.content)
		run(s.t, "mv", far, s.d.path)
	}},
	{"ln -f", func(s *soak) { run(s.t, "ln", "-f", s.staged(), s.d.path) }},
	{"rm, ln", func(s *soak) {
		s.must(os.Remove(s.d.path))
		s.pause(3 * time.Millisecond)
		s.must(os.Link(s.staged(), s.d.path))
	}},
	{"rm, ln -s", func(s *soak) {
		s.must(os.Remove(s.d.path))
		s.must(os.Symlink(s.staged(), s.d.path))
	}},
	{"pieces, held open", func(s *soak) {
		s.must(os.Remove(s.d.path))
		f := s.open(os.O_CREATE | os.O_EXCL)
		for _, piece := range s.pieces() {
			s.write(f, piece)
			s.pause(4 * time.Millisecond)
		}
		s.must(f.Close())
	}},
	{"pieces, reopened", func(s *soak) {
		s.must(os.Remove(s.d.path))
		for _, piece := range s.pieces() {
			f := s.open(os.O_CREATE | os.O_APPEND)
			s.write(f, piece)
			s.must(f.Close())
			s.pause(4 * time.Millisecond)
		}
	}},
	{"chmod +x", func(s *soak) {
		staged := s.staged()
		s.must(os.Chmod(staged, 0o644))
		s.rename(staged, s.d.path)
		s.pause(10 * time.Millisecond)
		s.must(os.Chmod(s.d.path, 0o755))
	}},
	{"truncated, then whole", func(s *soak) {
		// The ELF file ends where the trailer begins.
		cut := s.rand.IntN(len(s.content) - trailerSize)
		s.d.write(s.d.path+".cut", s.content[:cut])
		s.rename(s.d.path+".cut", s.d.path)
		s.pause(20 * time.Millisecond)
		s.byRename()
	}},
	{"garbage, then whole", func(s *soak) {
		s.must(os.Remove(s.d.path))
		s.d.write(s.d.path, []byte("garbage\n"))
		s.pause(5 * time.Millisecond)
		s.byRename()
	}},
	{"current flipped", func(s *soak) {
		s.must(os.Symlink(s.release(), s.current()+".new"))
		s.rename(s.current()+".new", s.current())
	}},
	{"current removed and made again", func(s *soak) {
		release := s.release()
		s.must(os.Remove(s.current()))
		s.pause(3 * time.Millisecond)
		s.must(os.Symlink(release, s.current()))
	}},
	{"directory renamed away and replaced", func(s *soak) {
		bin := filepath.Dir(s.d.path)
		prepared := filepath.Join(s.base, "bin.new")
		s.must(os.Mkdir(prepared, 0o755))
		s.d.write(filepath.Join(prepared, "app"), s.content)
		s.rename(bin, filepath.Join(s.base, "bin.old"))
		s.pause(2 * time.Millisecond)
		s.rename(prepared, bin)
		s.must(os.RemoveAll(filepath.Join(s.base, "bin.old")))
	}},
	{"directory removed and made again", func(s *soak) {
		bin := filepath.Dir(s.d.path)
		s.must(os.RemoveAll(bin))
		s.pause(2 * time.Millisecond)
		s.must(os.Mkdir(bin, 0o755))
		s.d.write(s.d.path, s.content)
	}},
	{"release removed and made again", func(s *soak) {
		release, err := filepath.EvalSymlinks(s.current())
		s.must(err)
		s.must(os.RemoveAll(release))
		s.pause(2 * time.Millisecond)
		s.must(os.MkdirAll(filepath.Join(release, "bin"), 0o755))
		s.byRename()
	}},
}

func (s *soak) byRename() { s.rename(s.staged(), s.d.path) }

// release makes a release of the version, and returns what current is to link to.
// Of those before it leaves one.
func (s *soak) release() string {
	linked, err := os.Readlink(s.current())
	s.must(err)
	releases, err := os.ReadDir(filepath.Join(s.base, "releases"))
	s.must(err)
	for _, release := range releases {
		if release.Name() != filepath.Base(linked) {
			s.must(os.RemoveAll(filepath.Join(s.base, "releases", release.Name())))
		}
	}
	name := "releases/" + strconv.Itoa(s.version)
	bin := filepath.Join(s.base, name, "bin")
	s.must(os.MkdirAll(bin, 0o755))
	s.d.write(filepath.Join(bin, "app"), s.content)
	return name
}

func (s *soak) open(flags int) *os.File {
	f, err := os.OpenFile(s.d.path, flags|os.O_WRONLY, 0o755)
	s.must(err)
	return f
}

func (s *soak) write(f *os.File, piece []byte) {
	_, err := f.Write(piece)
	s.must(err)
}

// pieces cuts the content into two to nine. The last one has the end of the ELF
// file.
func (s *soak) pieces() (pieces [][]byte) {
	rest := s.content
	for range 1 + s.rand.IntN(8) {
		n := s.rand.IntN(len(rest) - trailerSize)
		pieces = append(pieces, rest[:n])
		rest = rest[n:]
	}
	return append(pieces, rest)
}

// A deploy is found among the events of 100,000 other files.
func TestDeployAmongUnrelatedFiles(t *testing.T) {
	const files = 100_000
	d := newDaemon(t)
	staged := d.stage(2)
	d.start()
	d.watching()
	for i := range files {
		makeAndDelete(t, filepath.Join(filepath.Dir(d.path), "other-"+strconv.Itoa(i)))
		if i == files/2 {
			d.rename(staged, d.path)
		}
	}
	d.wantOneRestart(2)
}

// rss is the daemon's resident memory in kilobytes.
func (d *daemon) rss() int {
	d.t.Helper()
	status := readFile(d.t, fmt.Sprintf("/proc/%d/status", d.cmd.Process.Pid))
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kB, err := strconv.Atoi(strings.Fields(value)[0])
			if err != nil {
				d.t.Fatal(err)
			}
			return kB
		}
	}
	d.t.Fatal("no VmRSS")
	return 0
}

func median(n []int) int {
	return slices.Sorted(slices.Values(n))[len(n)/2]
}
