//go:build unix

package autorestart

import (
	"bytes"
	"debug/elf"
	"errors"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/candidate"
	"github.com/autorestart-go/autorestart/internal/elfimage"
	"github.com/autorestart-go/autorestart/internal/elfimage/elftest"
	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

func TestOpenCandidate(t *testing.T) {
	rules := self().newRules("", false)
	defer rules.Close()
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
		if c, r := candidate.Open(self().files, in("socket")); r == nil {
			c.Close()
			t.Error("opened a socket")
		}
	}
	for _, test := range tests {
		var c *candidate.Candidate
		var r *candidate.Rejection
		within(t, "opening "+test.path, func() { c, r = candidate.Open(self().files, test.path) })
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
		err := asError(r)
		rejected, ok := err.(*RejectedError)
		if !ok {
			t.Errorf("%s: got %v", test.path, err)
			continue
		}
		if rejected.Path != test.path || !strings.Contains(rejected.Found, test.found) || rejected.Retryable != test.retryable || test.is != nil && !errors.Is(err, test.is) {
			t.Errorf("%s: got %v, retryable: %t, for %v; want %q, %t, %v",
				test.path, err, rejected.Retryable, rejected.Err, test.found, test.retryable, test.is)
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
	own := self().files.RunningKind().ELF
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

func openCandidate(t *testing.T, path string) *candidate.Candidate {
	t.Helper()
	c, r := candidate.Open(self().files, path)
	if r != nil {
		t.Fatal(r)
	}
	t.Cleanup(c.Close)
	return c
}

// exchangeEnv tells the helper "exchange" what to do at the last moment: replace the file
// at the path, or write into it.
const exchangeEnv = "AUTORESTART_TEST_EXCHANGE"

// The helper judges the program beside it, and executes that after the program was
// exchanged, when nothing looks at it any more. The next image says what it is.
var _ = testprocess.RegisterHelper("exchange", func() {
	exe, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		panic(err)
	}
	if Generation() > 0 {
		os.Stdout.Write(exe[bytes.LastIndexByte(exe, '\n')+1:])
		return
	}
	path := filepath.Join(filepath.Dir(os.Args[0]), "app")
	rules := self().newRules("", false)
	c, rejection := candidate.Open(rules.System, path)
	if rejection == nil {
		rejection = rules.Judge(c)
	}
	if rejection != nil {
		panic(rejection)
	}
	write := func(flags int) {
		f, err := os.OpenFile(path, os.O_WRONLY|flags, 0)
		if err == nil {
			f.WriteAt([]byte("other"), c.ID.Size-5)
			f.Close()
		}
	}
	exchange := map[string]func() error{
		"replace": func() error { return os.Rename(path+".other", path) },
		"write": func() error {
			write(syscall.O_NONBLOCK)
			return nil
		},
		"write later": func() error {
			go write(0)
			time.Sleep(5 * candidate.LeaseInterval) // the lease may give way in that time
			return nil
		},
	}[os.Getenv(exchangeEnv)]
	if os.Getenv(exchangeEnv) != "replace" && !candidate.NewLease(self().files, c).Granted() {
		os.Stdout.WriteString("no lease")
		return
	}
	x := &replacement{process: self(), r: new(Restarter), c: c, lastLook: exchange, prepared: &prepared{process: self()}}
	err = self().exec(x)
	if !errors.Is(err, syscall.ETXTBSY) { // a writer has the file open
		panic(err)
	}
	os.Stdout.WriteString("judge") // when the writer is done, it is judged again
})

// TestJudgedIsExecuted: the program that was judged is executed, whatever becomes of its
// path and, where the kernel leases it, of its content between the last look and the exec.
func TestJudgedIsExecuted(t *testing.T) {
	variable := testprocess.UseHelper(t, "exchange")
	if !handover.CanRollBack {
		t.Skip("programs are executed by their path here")
	}
	exe, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	for _, how := range []string{"replace", "write", "write later"} {
		t.Run(how, func(t *testing.T) {
			dir := t.TempDir()
			for name, version := range map[string]string{"start": "start", "app": "judge", "app.other": "other"} {
				if err := os.WriteFile(filepath.Join(dir, name), append(slices.Clip(exe), "\n"+version...), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			cmd := exec.Command(filepath.Join(dir, "start"))
			cmd.Env = append(os.Environ(), variable, exchangeEnv+"="+how)
			output, err := cmd.CombinedOutput()
			if string(output) == "no lease" {
				t.Skip("no leases on this file system")
			}
			if err != nil || string(output) != "judge" {
				t.Errorf("executed %q, %v; want the program that was judged", output, err)
			}
		})
	}
}

// TestJudgeFiles: the system answers for real files what the rules ask.
func TestJudgeFiles(t *testing.T) {
	rules := self().newRules("", false)
	defer rules.Close()
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	other := elf.EM_AARCH64
	if own := self().files.RunningKind().ELF; own != nil && own.Machine == uint16(other) {
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
		err := asError(rules.Judge(openCandidate(t, path)))
		if test.found == "" {
			if err != nil {
				t.Errorf("%s: %v", test.name, err)
			}
			continue
		}
		rejected, ok := err.(*RejectedError)
		if !ok || rejected.Path != path || !strings.HasPrefix(rejected.Found, test.found) || rejected.Retryable != test.retry {
			t.Errorf("%s: got %v, want %q, retryable: %t", test.name, err, test.found, test.retry)
		}
		if test.is != nil && !errors.Is(err, test.is) {
			t.Errorf("%s: the cause is %v, want %v", test.name, errors.Unwrap(err), test.is)
		}
	}
}

// TestJudgeLater: the mode is set after the file has been closed, as install(1)
// does.
func TestJudgeLater(t *testing.T) {
	rules := self().newRules("", false)
	defer rules.Close()
	path := writeProgram(t, 0o600)
	c := openCandidate(t, path)
	if err := asError(rules.Judge(c)); !isRetryable(err) {
		t.Fatalf("without the mode: %v", err)
	}
	if err := os.Chmod(path, 0o755); err != nil {
		t.Fatal(err)
	}
	if r := rules.Judge(c); r != nil {
		t.Errorf("with the mode: %v", r)
	}
	if err := asError(rules.Unchanged(c)); !isRetryable(err) {
		t.Errorf("its mode was changed since it was opened: %v", err)
	}
}

func TestUnchanged(t *testing.T) {
	rules := self().newRules("", false)
	defer rules.Close()
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
		err := asError(rules.Unchanged(c))
		if !isRetryable(err) || test.is != nil && !errors.Is(err, test.is) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

// TestRememberFile: a version is known by its sum when its file is closed, unless the
// file was changed, or closed, before.
func TestRememberFile(t *testing.T) {
	rules := self().newRules("", false)
	defer rules.Close()
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
	rules := self().newRules("", false)
	defer rules.Close()
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
	rules := self().newRules("", false)
	if same, err := rules.Running.SameContent(c); err != nil || !same {
		t.Errorf("this program's own file: %t, %v", same, err)
	}
	like := self().files.RunningKind()
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
	sys := runningFile{self().files, old}
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
