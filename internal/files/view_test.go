//go:build unix

package files

import (
	"debug/elf"
	"errors"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/candidate"
	"github.com/autorestart-go/autorestart/internal/elfimage"
	"github.com/autorestart-go/autorestart/internal/elfimage/elftest"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// newRules returns rules that compare with the image of this process.
func newRules(t testing.TB) *candidate.Rules {
	rules := candidate.NewRules(own(t), "")
	t.Cleanup(rules.Close)
	return rules
}

func TestOpenCandidate(t *testing.T) {
	rules := newRules(t)
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.WriteFile(in("app"), []byte("content"), 0o755))
	must(os.Symlink("app", in("link")))
	must(os.Symlink("missing", in("dangling")))
	must(os.Symlink("loop-b", in("loop-a")))
	must(os.Symlink("loop-a", in("loop-b")))
	must(os.Symlink("self", in("self")))
	must(os.Mkdir(in("dir"), 0o755))
	must(unix.Mkfifo(in("fifo"), 0o755))
	must(os.WriteFile(in("locked"), []byte("content"), 0o000))
	const notRegular = "something that is not a regular file"

	tests := []struct {
		path      string
		found     string // "" if it opens
		retryable bool
		is        error
	}{
		{path: in("app")},
		{path: in("link")},
		{path: in("dir"), found: notRegular},
		{path: in("fifo"), found: notRegular},
		{path: "/dev/null", found: notRegular},
		{path: in("missing"), found: syscall.ENOENT.Error(), retryable: true, is: fs.ErrNotExist},
		{path: in("missing/app"), found: syscall.ENOENT.Error(), retryable: true, is: fs.ErrNotExist},
		{path: in("dangling"), found: syscall.ENOENT.Error(), retryable: true, is: fs.ErrNotExist},
		{path: in("app/app"), found: syscall.ENOTDIR.Error(), retryable: true, is: syscall.ENOTDIR},
		{path: in("loop-a"), found: syscall.ELOOP.Error(), retryable: true, is: syscall.ELOOP},
		{path: in("self"), found: syscall.ELOOP.Error(), retryable: true, is: syscall.ELOOP},
		{path: in(strings.Repeat("x", 300)), found: syscall.ENAMETOOLONG.Error(), retryable: true, is: syscall.ENAMETOOLONG},
	}
	if os.Geteuid() != 0 {
		tests = append(tests, tests[0])
		tests[len(tests)-1].path = in("locked")
		tests[len(tests)-1].found = syscall.EACCES.Error()
		tests[len(tests)-1].retryable = true
		tests[len(tests)-1].is = fs.ErrPermission
	}
	if l, err := net.Listen("unix", in("socket")); err == nil {
		defer l.Close()
		// Whatever the system answers, a socket is no candidate.
		if c, r := candidate.Open(own(t), in("socket")); r == nil {
			c.Close()
			t.Error("opened a socket")
		}
	}
	for _, test := range tests {
		var c *candidate.Candidate
		var r *candidate.Rejection
		within(t, "opening "+test.path, func() { c, r = candidate.Open(own(t), test.path) })
		if test.found == "" {
			if r != nil {
				t.Errorf("%s: %v", test.path, r)
				continue
			}
			if c.ID.Size != 7 || !c.ID.Regular || c.Path != test.path {
				t.Errorf("%s: %+v", test.path, c)
			}
			if r := rules.Unchanged(c); r != nil {
				t.Errorf("%s: %v", test.path, r)
			}
			c.Close()
			continue
		}
		if r == nil {
			t.Errorf("%s: opened", test.path)
			c.Close()
			continue
		}
		if r.Path != test.path || !strings.Contains(r.Found, test.found) || r.Retryable != test.retryable || test.is != nil && !errors.Is(r.Err, test.is) {
			t.Errorf("%s: got %v, retryable: %t, for %v; want %q, %t, %v", test.path, r, r.Retryable, r.Err, test.found, test.retryable, test.is)
		}
	}
}

// within fails the test if f takes long.
func within(t *testing.T, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		f()
		close(done)
	}()
	testprocess.Receive(t, "end of "+what, done)
}

// program returns an ELF image for this machine that nothing executes.
func program(t *testing.T, edit func(*elftest.Parts)) []byte {
	t.Helper()
	own := own(t).Kind.ELF
	if own == nil {
		t.Skip("programs have another format here")
	}
	p := elftest.New(elf.Class(own.Class), elf.Data(own.Data), elf.Machine(own.Machine))
	p.Loader = ""
	if edit != nil {
		edit(&p)
	}
	return p.Build(nil)
}

// writeProgram writes such an image to a new file.
func writeProgram(t *testing.T, mode fs.FileMode) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "app")
	if err := os.WriteFile(path, program(t, nil), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func openCandidate(t testing.TB, path string) *candidate.Candidate {
	t.Helper()
	c, r := candidate.Open(own(t), path)
	if r != nil {
		t.Fatal(r)
	}
	t.Cleanup(c.Close)
	return c
}

// TestJudgeFiles: the system answers for real files what the rules ask.
func TestJudgeFiles(t *testing.T) {
	rules := newRules(t)
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	other := elf.EM_AARCH64
	if own := own(t).Kind.ELF; own != nil && own.Machine == uint16(other) {
		other = elf.EM_X86_64
	}
	foreign := program(t, func(p *elftest.Parts) { p.Machine = other })
	tests := []struct {
		name    string
		content []byte
		mode    fs.FileMode
		found   string // how it starts; "" if it is accepted
		retry   bool
		is      error
	}{
		{name: "static", content: program(t, nil), mode: 0o755},
		{name: "for this user only", content: program(t, nil), mode: 0o700},
		{name: "dynamic", content: program(t, func(p *elftest.Parts) { p.Loader = executable + "\x00" }), mode: 0o755},
		{name: "without its loader", content: program(t, func(p *elftest.Parts) { p.Loader = "/nonexistent/ld.so\x00" }), mode: 0o755,
			found: "a program that needs the dynamic loader /nonexistent/ld.so (no such file or directory)", retry: true, is: fs.ErrNotExist},
		{name: "not executable", content: program(t, nil), mode: 0o644,
			found: "a file that may not be executed (permission denied)", retry: true, is: fs.ErrPermission},
		{name: "another machine", content: foreign, mode: 0o755, found: "an ELF executable for"},
		// The first reason is the one that will not pass.
		{name: "another machine, not executable", content: foreign, mode: 0o644, found: "an ELF executable for"},
	}
	for _, test := range tests {
		path := filepath.Join(t.TempDir(), "app")
		if err := os.WriteFile(path, test.content, test.mode); err != nil {
			t.Fatal(err)
		}
		r := rules.Judge(openCandidate(t, path))
		if test.found == "" {
			if r != nil {
				t.Errorf("%s: %v", test.name, r)
			}
			continue
		}
		if r == nil || r.Path != path || !strings.HasPrefix(r.Found, test.found) || r.Retryable != test.retry {
			t.Errorf("%s: got %v, want %q, retryable: %t", test.name, r, test.found, test.retry)
			continue
		}
		if test.is != nil && !errors.Is(r.Err, test.is) {
			t.Errorf("%s: the cause is %v, want %v", test.name, r.Err, test.is)
		}
	}
}

// TestJudgeLater: the mode is set after the file has been closed, as install(1)
// does.
func TestJudgeLater(t *testing.T) {
	rules := newRules(t)
	path := writeProgram(t, 0o600)
	c := openCandidate(t, path)
	if r := rules.Judge(c); r == nil || !r.Retryable {
		t.Fatalf("without the mode: %v", r)
	}
	if err := os.Chmod(path, 0o755); err != nil {
		t.Fatal(err)
	}
	if r := rules.Judge(c); r != nil {
		t.Errorf("with the mode: %v", r)
	}
	if r := rules.Unchanged(c); r == nil || !r.Retryable {
		t.Errorf("its mode was changed since it was opened: %v", r)
	}
}

func TestUnchanged(t *testing.T) {
	rules := newRules(t)
	tests := []struct {
		name   string
		change func(path string) error
		is     error
	}{
		{"removed", os.Remove, fs.ErrNotExist},
		{"replaced by a copy", func(path string) error {
			if err := os.WriteFile(path+"~", program(t, nil), 0o755); err != nil {
				return err
			}
			return os.Rename(path+"~", path)
		}, nil},
		{"written", func(path string) error { return os.Truncate(path, 10) }, nil},
		{"touched", func(path string) error { return os.Chtimes(path, time.Unix(1, 0), time.Unix(1, 0)) }, nil},
		{"replaced by a directory", func(path string) error {
			if err := os.Remove(path); err != nil {
				return err
			}
			return os.Mkdir(path, 0o755)
		}, nil},
	}
	for _, test := range tests {
		path := writeProgram(t, 0o755)
		c := openCandidate(t, path)
		if r := rules.Unchanged(c); r != nil {
			t.Errorf("%s: before: %v", test.name, r)
		}
		if err := test.change(path); err != nil {
			t.Fatal(err)
		}
		r := rules.Unchanged(c)
		if r == nil || !r.Retryable || test.is != nil && !errors.Is(r.Err, test.is) {
			t.Errorf("%s: %v", test.name, r)
		}
	}
}

// TestRememberFile: a version is known by its sum when its file is closed, unless the
// file was changed, or closed, before.
func TestRememberFile(t *testing.T) {
	rules := newRules(t)
	for name, test := range map[string]struct {
		change func(*candidate.Candidate) error
		known  bool
	}{
		"as it was": {func(*candidate.Candidate) error { return nil }, true},
		"touched":   {func(c *candidate.Candidate) error { return os.Chtimes(c.Path, time.Time{}, time.Unix(1, 0)) }, false},
		"longer":    {func(c *candidate.Candidate) error { return os.Truncate(c.Path, 1<<20) }, false},
		"shorter":   {func(c *candidate.Candidate) error { return os.Truncate(c.Path, 100) }, false},
		"closed":    {func(c *candidate.Candidate) error { return c.File.Close() }, false},
	} {
		c := openCandidate(t, writeProgram(t, 0o755))
		if err := test.change(c); err != nil {
			t.Fatal(err)
		}
		v := rules.Remember(c)
		if same, err := v.SameContent(openCandidate(t, writeProgram(t, 0o755))); err != nil || same != test.known {
			t.Errorf("%s: a copy is the same: %t, %v", name, same, err)
		}
	}
}

// TestSparseCandidate: a program with a terabyte of zeros behind it costs no time, neither
// when it is judged nor when it is remembered.
func TestSparseCandidate(t *testing.T) {
	path := writeProgram(t, 0o755)
	if err := os.Truncate(path, 1<<40); err != nil {
		t.Skip(err)
	}
	rules := newRules(t)
	c := openCandidate(t, path)
	within(t, "judging", func() {
		if same, err := rules.Running.SameContent(c); err != nil || same {
			t.Errorf("taken for the running image: %t, %v", same, err)
		}
		if r := rules.Judge(c); r == nil || !strings.Contains(r.Expected, "at most 4 GiB") {
			t.Errorf("rejected as %v", r)
		}
		elfimage.ReadBuild(c.File, c.ID.Size)
	})
	within(t, "remembering", func() {
		v := rules.Remember(c)
		if same, err := v.SameContent(c); err != nil || !same {
			t.Errorf("the same file: %t, %v", same, err)
		}
		if err := os.Chtimes(path, time.Time{}, time.Unix(1, 0)); err != nil {
			t.Error(err)
		}
		if same, err := v.SameContent(openCandidate(t, path)); err != nil || same {
			t.Errorf("touched: %t, %v", same, err)
		}
	})
}

// TestRunningVersion: this program is the version that it runs, and would be accepted
// as its own successor.
func TestRunningVersion(t *testing.T) {
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := openCandidate(t, executable)
	rules := newRules(t)
	if same, err := rules.Running.SameContent(c); err != nil || !same {
		t.Errorf("this program's own file: %t, %v", same, err)
	}
	like := own(t).Kind
	if like.IsZero() {
		t.Fatal("nothing is known of the running image")
	}
	if kind, err := elfimage.ReadKind(c.File, c.ID.Size); err != nil || !kind.SameAs(like) {
		t.Errorf("the file is %s, %v, and what runs is %s", kind, err, like)
	}
	rules.Close()
	rules.Close()
}

// BenchmarkJudge measures what looking at a new version of a 20 MB Go program
// adds to its execution: opening it, comparing it with the image that runs, and
// judging it. The limit holds from 100 rounds on.
func BenchmarkJudge(b *testing.B) {
	old, next := buildLarge(b, "one"), buildLarge(b, "two")
	info, err := os.Stat(next)
	if err != nil {
		b.Fatal(err)
	}
	if info.Size() < 20e6 {
		b.Fatalf("a program of %d bytes, expected 20 MB", info.Size())
	}
	sys := runningFile{own(b), old}
	rules := candidate.NewRules(sys, old)
	defer rules.Close()
	if rules.Running.ID.Size != info.Size() {
		b.Fatalf("builds of %d and %d bytes: a difference in size proves nothing", rules.Running.ID.Size, info.Size())
	}
	var took []time.Duration
	for b.Loop() {
		start := time.Now()
		c, rejection := candidate.Open(sys, next)
		if rejection != nil {
			b.Fatal(rejection)
		}
		if same, err := rules.Running.SameContent(c); err != nil || same {
			b.Fatal(same, err)
		}
		if rejection := rules.Judge(c); rejection != nil {
			b.Fatal(rejection)
		}
		if rejection := rules.Unchanged(c); rejection != nil {
			b.Fatal(rejection)
		}
		took = append(took, time.Since(start))
		c.Close()
	}
	median := testprocess.Quantile(took, 0.50)
	b.ReportMetric(testprocess.Microseconds(median), "p50-us")
	b.ReportMetric(testprocess.Microseconds(testprocess.Quantile(took, 0.99)), "p99-us")
	if limit := 200 * time.Microsecond; len(took) >= 100 && median > limit {
		b.Errorf("judging takes %v, limit %v", median, limit)
	}
}

// runningFile is a system whose running image is the file at the path.
type runningFile struct {
	candidate.System
	path string
}

func (s runningFile) OpenRunning() (candidate.File, error) { return s.Open(s.path) }

func (s runningFile) RunningID() candidate.ID {
	id, _ := s.Stat(s.path)
	return id
}

// buildLarge builds a program of 20 MB that knows its version.
func buildLarge(tb testing.TB, version string) (path string) {
	tb.Helper()
	dir := tb.TempDir()
	blob := make([]byte, 20_000_000)
	rand.NewChaCha8([32]byte{}).Read(blob)
	for name, content := range map[string][]byte{
		"go.mod":  []byte("module large\n\ngo 1.26\n"),
		"main.go": []byte(strings.ReplaceAll("package main\n\nimport _ 'embed'\n\n//go:embed blob\nvar blob string\n\nvar version string\n\nfunc main() { println(len(blob), version) }\n", "'", `"`)),
		"blob":    blob,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			tb.Fatal(err)
		}
	}
	path = filepath.Join(dir, "large")
	cmd := exec.Command("go", "build", "-C", dir, "-trimpath", "-o", path, "-ldflags=-X main.version="+version, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=")
	if output, err := cmd.CombinedOutput(); err != nil {
		tb.Fatalf("%v: %v\n%s", cmd, err, output)
	}
	return path
}
