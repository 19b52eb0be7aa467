//go:build linux

package integrationtest

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/daemontest/program"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// TestRandomDeploys deploys at random moments in random ways. Every image
// that starts is a whole version, newer than the one before, in the same process;
// the last one runs within five seconds: a chain of restarts takes less than one.
//
// It is the short form of
//
//	AUTORESTART_TEST_DEPLOYS=1000 go test -run TestRandomDeploys ./internal/integrationtest
//
// and prints its seed, which AUTORESTART_TEST_SEED sets.
func TestRandomDeploys(t *testing.T) {
	t.Parallel()
	deploys := testprocess.FromEnv(t, "AUTORESTART_TEST_DEPLOYS", 60)
	seed := testprocess.FromEnv(t, "AUTORESTART_TEST_SEED", int(time.Now().UnixNano()%1e9))
	t.Logf("AUTORESTART_TEST_SEED=%d", seed)
	s := newSoak(t, uint64(seed))
	d := s.d
	d.Start()
	var slowest time.Duration
	restarts := 0
	for range deploys {
		way := soakWays[s.rand.IntN(len(soakWays))]
		s.next(way.name)
		way.deploy(s)
		deployed := testprocess.StartStopwatch()
		s.noise()
		if s.rand.IntN(20) == 0 || s.version == deploys+1 {
			for d.Last.Version < s.version {
				last := d.Last
				s.started(last, d.NextStart())
				restarts++
			}
			took := deployed.Elapsed()
			slowest = max(slowest, took)
			if took > 5*time.Second {
				t.Errorf("version %d (%s) ran %v after it was deployed", s.version, way.name, took)
			}
		}
		for last := d.Last; ; last = d.Last {
			status, ok := d.PendingStart()
			if !ok {
				break
			}
			s.started(last, status)
			restarts++
		}
		time.Sleep(time.Duration(s.rand.Int64N(int64(30 * time.Millisecond)))) // the moment is random too
	}
	d.DeployVersion(s.version + 1)
	d.WantRestart(s.version + 1)
	t.Logf("%d deploys, %d restarts, slowest %v", deploys, restarts, slowest)
}

// soak is a daemon at base/current/bin/app, where current is a symbolic link to
// base/releases/N, and the versions that are deployed there.
type soak struct {
	t       *testing.T
	d       *daemontest.Daemon
	rand    *rand.Rand
	base    string
	far     string   // a directory on another file system, where there is one
	version int      // the last one
	content []byte   // of that version
	ways    []string // by which each version was deployed
}

func newSoak(t *testing.T, seed uint64) *soak {
	d := program.New(t)
	s := &soak{
		t:       t,
		d:       d,
		rand:    rand.New(rand.NewPCG(seed, 0)),
		base:    filepath.Dir(d.Path),
		far:     t.TempDir(),
		version: 1,
		content: daemontest.Image(t, 1),
		ways:    []string{"", ""},
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("version %d ran, deployed after it: %s", d.Last.Version, strings.Join(s.ways[d.Last.Version+1:], ", "))
		}
	})
	d.MoveTo(filepath.Join(s.base, "releases/1/bin/app"))
	d.Symlink("releases/1", s.current())
	d.StartedAs(filepath.Join(s.current(), "bin/app"))
	d.Mkdir(filepath.Join(s.base, "staged"))
	return s
}

func (s *soak) current() string { return filepath.Join(s.base, "current") }

// next prepares the next version, and removes staged files that no version needs.
func (s *soak) next(way string) {
	s.version++
	s.ways = append(s.ways, way)
	copy(s.content[len(s.content)-daemontest.TrailerSize:], daemontest.Trailer(s.version))
	old := s.stagedIn(filepath.Join(s.base, "staged"), s.version-3)
	if target, _ := os.Readlink(s.d.Path); target != old { // cp refuses to write through a link to nothing
		os.RemoveAll(old)
	}
}

func (s *soak) stagedIn(dir string, version int) string {
	return filepath.Join(dir, strconv.Itoa(version))
}

// staged writes the version beside the path.
func (s *soak) staged() string {
	name := s.stagedIn(filepath.Join(s.base, "staged"), s.version)
	s.d.Write(name, s.content)
	return name
}

// started judges the status of an image that has started after the last one.
func (s *soak) started(last, now daemontest.Status) {
	s.t.Helper()
	oldest := last.Version + 1
	if !daemontest.HaveEvents {
		// Nothing holds the image of a process here. A file that changes while it is
		// executed looks like another one to the process.
		oldest = last.Version
	}
	if now.PID != s.d.PID() || now.Generation != last.Generation+1 || now.Version < oldest || now.Version > s.version {
		s.t.Fatalf("version %d, generation %d in process %d after version %d, generation %d in process %d; deployed are %d (%s)",
			now.Version, now.Generation, now.PID, last.Version, last.Generation, s.d.PID(),
			s.version, strings.Join(s.ways[last.Version+1:], ", "))
	}
}

func (s *soak) rename(from, to string) { s.d.Rename(from, to) }

func (s *soak) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *soak) pause(limit time.Duration) {
	time.Sleep(time.Duration(s.rand.Int64N(int64(limit))))
}

// noise does something that is no deploy.
func (s *soak) noise() {
	switch s.rand.IntN(8) {
	case 0:
		now := time.Now()
		s.must(os.Chtimes(s.d.Path, now, now))
	case 1:
		s.must(os.Chmod(s.d.Path, 0o755))
	case 2:
		other := s.d.Path + ".other"
		s.must(os.WriteFile(other, []byte("other"), 0o644))
		s.must(os.Remove(other))
	}
}

var soakWays = []struct {
	name   string
	deploy func(s *soak)
}{
	{"rename", (*soak).byRename},
	{"cp -f", func(s *soak) { testprocess.Run(s.t, "cp", "-f", s.staged(), s.d.Path) }},
	{"cp --remove-destination", func(s *soak) { testprocess.Run(s.t, "cp", "--remove-destination", s.staged(), s.d.Path) }},
	{"install", func(s *soak) { testprocess.Run(s.t, "install", "-m755", s.staged(), s.d.Path) }},
	{"rsync", func(s *soak) {
		if _, err := exec.LookPath("rsync"); err != nil {
			s.byRename()
			return
		}
		staged := s.staged()
		// A time of its own, in seconds too: see later.
		s.must(os.Chtimes(staged, time.Time{}, time.Now().Add(time.Duration(s.version)*time.Minute)))
		testprocess.Run(s.t, "rsync", "-a", staged, s.d.Path)
	}},
	{"mv from another file system", func(s *soak) {
		far := filepath.Join(s.far, "app")
		s.d.Write(far, s.content)
		testprocess.Run(s.t, "mv", far, s.d.Path)
	}},
	{"ln -f", func(s *soak) { testprocess.Run(s.t, "ln", "-f", s.staged(), s.d.Path) }},
	{"rm, ln", func(s *soak) {
		s.must(os.Remove(s.d.Path))
		s.pause(3 * time.Millisecond)
		s.must(os.Link(s.staged(), s.d.Path))
	}},
	{"rm, ln -s", func(s *soak) {
		s.must(os.Remove(s.d.Path))
		s.must(os.Symlink(s.staged(), s.d.Path))
	}},
	{"pieces, held open", func(s *soak) {
		s.must(os.Remove(s.d.Path))
		f := s.open(os.O_CREATE | os.O_EXCL)
		for _, piece := range s.pieces() {
			s.write(f, piece)
			s.pause(4 * time.Millisecond)
		}
		s.must(f.Close())
	}},
	{"pieces, reopened", func(s *soak) {
		s.must(os.Remove(s.d.Path))
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
		s.rename(staged, s.d.Path)
		s.pause(10 * time.Millisecond)
		s.must(os.Chmod(s.d.Path, 0o755))
	}},
	{"truncated, then whole", func(s *soak) {
		// The ELF file ends where the trailer begins.
		cut := s.rand.IntN(len(s.content) - daemontest.TrailerSize)
		s.d.Write(s.d.Path+".cut", s.content[:cut])
		s.rename(s.d.Path+".cut", s.d.Path)
		s.pause(20 * time.Millisecond)
		s.byRename()
	}},
	{"garbage, then whole", func(s *soak) {
		s.must(os.Remove(s.d.Path))
		s.d.Write(s.d.Path, []byte("garbage\n"))
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
		bin := filepath.Dir(s.d.Path)
		prepared := filepath.Join(s.base, "bin.new")
		s.must(os.Mkdir(prepared, 0o755))
		s.d.Write(filepath.Join(prepared, "app"), s.content)
		s.rename(bin, filepath.Join(s.base, "bin.old"))
		s.pause(2 * time.Millisecond)
		s.rename(prepared, bin)
		s.must(os.RemoveAll(filepath.Join(s.base, "bin.old")))
	}},
	{"directory removed and made again", func(s *soak) {
		bin := filepath.Dir(s.d.Path)
		s.must(os.RemoveAll(bin))
		s.pause(2 * time.Millisecond)
		s.must(os.Mkdir(bin, 0o755))
		s.d.Write(s.d.Path, s.content)
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

func (s *soak) byRename() { s.rename(s.staged(), s.d.Path) }

// release makes a release of the version, and returns the target for current. It
// removes the earlier releases but the one that current leads to.
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
	s.d.Write(filepath.Join(bin, "app"), s.content)
	return name
}

func (s *soak) open(flags int) *os.File {
	f, err := os.OpenFile(s.d.Path, flags|os.O_WRONLY, 0o755)
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
		n := s.rand.IntN(len(rest) - daemontest.TrailerSize)
		pieces = append(pieces, rest[:n])
		rest = rest[n:]
	}
	return append(pieces, rest)
}
