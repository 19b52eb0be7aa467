//go:build unix

package autorestart

import (
	"bytes"
	"debug/elf"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/candidate"
	"github.com/autorestart-go/autorestart/internal/elfimage"
	"github.com/autorestart-go/autorestart/internal/elfimage/elftest"
)

var (
	_ Logger = (*slog.Logger)(nil)
	_ Logger = stderrLogger{}
)

func TestLogLine(t *testing.T) {
	var noError error
	now := time.Date(2024, 2, 29, 23, 59, 58, 999999999, time.FixedZone("", 0))
	tests := []struct {
		args []any
		want string
	}{
		{nil, ""},
		{[]any{"path", "/srv/app"}, ` path=/srv/app`},
		{[]any{"a", "1", "b", "2"}, ` a=1 b=2`},
		{[]any{"path", "/srv/my app"}, ` path="/srv/my app"`},
		{[]any{"pid", 42}, ` pid=42`},
		{[]any{"pid", -1}, ` pid=-1`},
		{[]any{"reason", errors.New("exec format error")}, ` reason="exec format error"`},
		{[]any{"reason", io.EOF}, ` reason=EOF`},
		{[]any{"reason", noError}, ` reason=<nil>`},
		{[]any{"reason", nil}, ` reason=<nil>`},

		// Not called like this by the library; a line comes out nevertheless.
		{[]any{"lonely"}, ""},
		{[]any{"a", "1", "lonely"}, ` a=1`},
		{[]any{7, "x"}, ` =x`},
		{[]any{nil, nil}, ` =<nil>`},
		{[]any{"after", time.Second}, ` after=?`},
		{[]any{"list", []int{1}}, ` list=?`},
		{[]any{"size", int64(1)}, ` size=?`},
	}
	for _, test := range tests {
		want := "2024-02-29T23:59:58Z [autorestart] restarting" + test.want + "\n"
		if got := logLine(now, "[autorestart] restarting", test.args); got != want {
			t.Errorf("%v: got %q, want %q", test.args, got, want)
		}
	}
}

func TestLogWord(t *testing.T) {
	tests := []struct{ s, want string }{
		{``, `""`},
		{`app`, `app`},
		{`/opt/app-1.2_3+b@x:y`, `/opt/app-1.2_3+b@x:y`},
		{`a b`, `"a b"`},
		{`a=b`, `"a=b"`},
		{`a"b`, `"a\"b"`},
		{`a\b`, `a\b`},
		{`a\ b`, `"a\\ b"`},
		{"a\nb", `"a\nb"`},
		{"a\tb", `"a\tb"`},
		{"a\x00b", `"a\x00b"`},
		{"\x1b[31m", `"\x1b[31m"`},
		{"\x7f", `"\x7f"`},
		{"größe", "größe"},
		{"größe 5", `"größe 5"`},
		{"日本", "日本"},
		{"\xff", `"\xff"`},
		{"\u200b", `"\u200b"`},   // is not seen
		{"\x9b31m", `"\x9b31m"`}, // moves a terminal as ESC [ does
		{"gr\xc3", `"gr\xc3"`},
		{"ö\xff", `"ö\xff"`},
	}
	for _, test := range tests {
		if got := logWord(test.s); got != test.want {
			t.Errorf("%q: got %s, want %s", test.s, got, test.want)
		}
	}
}

// TestLogWordReadsBack: a value stays on one line and can be read back.
func TestLogWordReadsBack(t *testing.T) {
	check := func(s string) {
		t.Helper()
		quoted := logWord(s)
		if strings.ContainsAny(quoted, "\n\r\x1b\x00\x7f") {
			t.Errorf("%q: control characters in %q", s, quoted)
		}
		if quoted == s {
			return
		}
		if got, err := strconv.Unquote(quoted); err != nil || got != s {
			t.Errorf("%q: %s reads as %q, %v", s, quoted, got, err)
		}
	}
	for c := range 256 {
		check(string([]byte{byte(c)}))
		check("ü" + string([]byte{byte(c)}))
	}
	r := rand.New(rand.NewPCG(3, 4))
	for range 1000 {
		b := make([]byte, r.IntN(20))
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		check(string(b))
	}
}

func TestStderrLogger(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	stderr := os.Stderr
	os.Stderr = f
	l := newStderrLogger()
	l.Info("a long message, so that the next one is shorter", "n", 1)
	l.Warn("two", "n", 2)
	l.Error("three", "reason", errors.New("no reason"))
	os.Stderr = stderr

	got, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	const at = `\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ \[autorestart\] `
	want := "^" + at + "a long message, so that the next one is shorter n=1\n" + at + "two n=2\n" + at + "three reason=\"no reason\"\n$"
	if !regexp.MustCompile(want).Match(got) {
		t.Errorf("got %q", got)
	}
}

func TestAbsolute(t *testing.T) {
	if os.PathSeparator != '/' {
		t.Skip("paths have another form here")
	}
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	for _, test := range []struct{ path, want string }{
		{"", ""},
		{"/", "/"},
		{"/srv/app", "/srv/app"},
		{"/srv/../app", "/srv/../app"},
		{"//srv", "//srv"},
		{"app", dir + "/app"},
		{"./app", dir + "/app"},
		{"././app", dir + "/app"},
		{"bin/app", dir + "/bin/app"},
		{"../app", dir + "/../app"},
		{"link/../app", dir + "/link/../app"}, // not cleaned
		{".app", dir + "/.app"},
		{".", dir + "/."},
	} {
		if got := absolute(test.path); got != test.want {
			t.Errorf("%q: got %q, want %q", test.path, got, test.want)
		}
	}
	t.Chdir("/")
	if got := absolute("app"); got != "/app" {
		t.Errorf("in the root directory: got %q", got)
	}
}

// TestExecutablePath: a relative path is taken from the working directory once,
// and what follows does not change with that.
func TestExecutablePath(t *testing.T) {
	if got, err := self.executablePath(""); err != nil || got != self.launch.path {
		t.Errorf("got %q, %v; want this program, %q", got, err, self.launch.path)
	}
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	for _, path := range []string{"app", filepath.Join("bin", "app"), filepath.Join(dir, "app")} {
		want := path
		if !filepath.IsAbs(path) {
			want = filepath.Join(dir, path)
		}
		if got, err := self.executablePath(path); err != nil || got != want {
			t.Errorf("%q: got %q, %v; want %q", path, got, err, want)
		}
	}
}

// TestExecutablePathNowhere: the working directory has been removed.
func TestExecutablePathNowhere(t *testing.T) {
	if os.PathSeparator != '/' {
		t.Skip("the working directory can't be removed here")
	}
	dir := filepath.Join(t.TempDir(), "gone")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	if err := os.Remove(dir); err != nil {
		t.Skip(err)
	}
	if got, err := self.executablePath("app"); err != errNoDirectory {
		t.Errorf("got %q, %v; want %v", got, err, errNoDirectory)
	}
	if got, err := self.executablePath("/srv/app"); err != nil || got != "/srv/app" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestExecutablePathUnknown(t *testing.T) {
	old := self.launch
	defer func() { self.launch = old }()
	self.launch.path = ""
	if got, err := self.executablePath(""); err != errNoPath {
		t.Errorf("got %q, %v; want %v", got, err, errNoPath)
	}
	if err := (&Restarter{}).Restart(t.Context()); err != errNoPath {
		t.Errorf("Restart: %v, want %v", err, errNoPath)
	}
	if _, err := (&Watcher{}).Next(t.Context()); err != errNoPath {
		t.Errorf("Next: %v, want %v", err, errNoPath)
	}
}

// TestLaunchPath: it leads to what runs, from wherever.
func TestLaunchPath(t *testing.T) {
	if !filepath.IsAbs(self.launch.path) {
		t.Fatalf("launch path %q", self.launch.path)
	}
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	a, errA := os.Stat(self.launch.path)
	b, errB := os.Stat(executable)
	if err := errors.Join(errA, errB); errors.Is(err, fs.ErrNotExist) {
		t.Skip(err)
	} else if err != nil || !os.SameFile(a, b) {
		t.Errorf("%s is not %s, %v", self.launch.path, executable, err)
	}
	if len(self.launch.args) != len(os.Args) {
		t.Errorf("arguments %q, want %q", self.launch.args, os.Args)
	}
}

// capturedLog keeps what it is told, without the time.
type capturedLog struct {
	mu    sync.Mutex
	lines []string
}

func (l *capturedLog) Info(msg string, args ...any)  { l.add("INFO ", msg, args) }
func (l *capturedLog) Warn(msg string, args ...any)  { l.add("WARN ", msg, args) }
func (l *capturedLog) Error(msg string, args ...any) { l.add("ERROR ", msg, args) }

func (l *capturedLog) add(level, msg string, args []any) {
	const zero = "1970-01-01T00:00:00Z "
	line := logLine(time.Unix(0, 0), level+msg, args)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, line[len(zero):len(line)-1])
}

// take returns the lines since the last call.
func (l *capturedLog) take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	lines := l.lines
	l.lines = nil
	return lines
}

func TestWatchModeString(t *testing.T) {
	reason := errors.New("too many open files")
	for _, test := range []struct {
		mode WatchMode
		want string
	}{
		{WatchMode{}, "not watching"},
		{WatchMode{Events: true}, "events"},
		{WatchMode{Poll: time.Second}, "polling every 1s"},
		{WatchMode{Events: true, Poll: 500 * time.Millisecond}, "events and polling every 500ms"},
		{WatchMode{Poll: time.Second, Reason: reason}, "polling every 1s: too many open files"},
		{WatchMode{Events: true, Poll: time.Second, Reason: reason}, "events and polling every 1s: too many open files"},
	} {
		if got := test.mode.String(); got != test.want {
			t.Errorf("%#v: got %q, want %q", test.mode, got, test.want)
		}
	}
}

func TestBuildInfoString(t *testing.T) {
	for want, b := range map[string]BuildInfo{
		"unknown":                   {},
		"v1.4.2":                    {ID: "a/b/c/d", Module: "m", Version: "v1.4.2"},
		"content":                   {ID: "action/main/x/content", Version: "(devel)"},
		"v0.0.0-20260101-abc+dirty": {Version: "v0.0.0-20260101-abc+dirty"},
	} {
		if got := b.String(); got != want {
			t.Errorf("%+v is %q, want %q", b, got, want)
		}
	}
}

func TestRejectedError(t *testing.T) {
	cause := &fs.PathError{Op: "open", Path: "/srv/app", Err: fs.ErrPermission}
	err := error(&RejectedError{Path: "/srv/app", Found: "a script", Expected: "a program", Err: cause})
	if want := "autorestart: /srv/app: found a script, expected a program"; err.Error() != want {
		t.Errorf("got %q, want %q", err, want)
	}
	if !errors.Is(err, fs.ErrPermission) {
		t.Error("the cause is lost")
	}
	if err := error(&RejectedError{Found: "a", Expected: "b"}); err.Error() != "autorestart: found a, expected b" {
		t.Errorf("without a path: %q", err)
	}
}

func TestAsError(t *testing.T) {
	if err := asError(nil); err != nil {
		t.Errorf("nil became %v", err)
	}
	fault := &fs.PathError{Op: "read", Path: "/srv/app", Err: errors.New("input/output error")}
	err := asError(candidate.Unreadable("/srv/app", fault))
	if want := "autorestart: /srv/app: found input/output error, expected a file that can be read"; err.Error() != want {
		t.Errorf("got %q, want %q", err, want)
	}
	if !isRetryable(err) || !errors.Is(err, fault) {
		t.Errorf("got %#v", err)
	}
}

func TestVerifyError(t *testing.T) {
	if err := verifyError("/srv/app", nil); err != nil {
		t.Errorf("nil became %v", err)
	}
	own := &RejectedError{Found: "a", Expected: "b"}
	err := verifyError("/srv/app", own)
	if err.Error() != "autorestart: /srv/app: found a, expected b" || isRetryable(err) {
		t.Errorf("got %v", err)
	}
	if own.Path != "" {
		t.Error("the error of the caller was changed")
	}
	if !isRetryable(verifyError("/srv/app", &RejectedError{Retryable: true})) {
		t.Error("a retryable error is not any more")
	}
	plain := errors.New("no good")
	err = verifyError("/srv/app", plain)
	const want = "autorestart: /srv/app: found a file that Verify rejects (no good), expected one that it accepts"
	if err.Error() != want || isRetryable(err) || !errors.Is(err, plain) {
		t.Errorf("got %v, want %q", err, want)
	}
}

func TestIsRetryable(t *testing.T) {
	for _, test := range []struct {
		err  error
		want bool
	}{
		{nil, false},
		{errors.New("x"), false},
		{&RejectedError{}, false},
		{&RejectedError{Retryable: true}, true},
		{errors.Join(errors.New("x"), &RejectedError{Retryable: true}), true},
	} {
		if got := isRetryable(test.err); got != test.want {
			t.Errorf("%v: %t", test.err, got)
		}
	}
}

// errorLogger keeps the errors among the arguments of its lines.
type errorLogger struct {
	Logger
	errs []error
}

func (l *errorLogger) Warn(_ string, args ...any) {
	for _, arg := range args {
		if err, ok := arg.(error); ok {
			l.errs = append(l.errs, err)
		}
	}
}

// TestRejectionLogger: a logger gets the public error of a rejection.
func TestRejectionLogger(t *testing.T) {
	log := new(errorLogger)
	plain := errors.New("no good")
	rejectionLogger{log}.Warn("new version rejected", "reason", &candidate.Rejection{Path: "/app", Retryable: true}, "cause", plain)
	if len(log.errs) != 2 || !isRetryable(log.errs[0]) || log.errs[1] != plain {
		t.Errorf("got %#v", log.errs)
	}
}

func TestOpenCandidate(t *testing.T) {
	rules := newRules(false)
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
		{path: in("missing"), found: "no such file or directory", retryable: true, is: fs.ErrNotExist},
		{path: in("missing/app"), found: "no such file or directory", retryable: true, is: fs.ErrNotExist},
		{path: in("dangling"), found: "no such file or directory", retryable: true, is: fs.ErrNotExist},
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
		if c, r := candidate.Open(processFiles, in("socket")); r == nil {
			c.Close()
			t.Error("opened a socket")
		}
	}
	for _, test := range tests {
		var c *candidate.Candidate
		var r *candidate.Rejection
		within(t, "opening "+test.path, func() { c, r = candidate.Open(processFiles, test.path) })
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
		if rejected.Path != test.path || rejected.Found != test.found || rejected.Retryable != test.retryable || test.is != nil && !errors.Is(err, test.is) {
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
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal(what, "blocks")
	}
}

// program returns an ELF image for this machine that nothing executes.
func program(t *testing.T, edit func(*elftest.Parts)) []byte {
	t.Helper()
	own := processFiles.RunningKind().ELF
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
	c, r := candidate.Open(processFiles, path)
	if r != nil {
		t.Fatal(r)
	}
	t.Cleanup(c.Close)
	return c
}

// TestJudgeFiles: the system answers for real files what the rules ask.
func TestJudgeFiles(t *testing.T) {
	rules := newRules(false)
	defer rules.Close()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	other := elf.EM_AARCH64
	if own := processFiles.RunningKind().ELF; own != nil && own.Machine == uint16(other) {
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
		{name: "dynamic", content: program(t, func(p *elftest.Parts) { p.Loader = self + "\x00" }), mode: 0o755},
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
	rules := newRules(false)
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
	rules := newRules(false)
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
	rules := newRules(false)
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

// TestRunningVersion: this program is the version that it runs, and would be accepted
// as its own successor.
func TestRunningVersion(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := openCandidate(t, self)
	rules := newRules(false)
	if same, err := rules.Running.SameContent(c); err != nil || !same {
		t.Errorf("this program's own file: %t, %v", same, err)
	}
	like := processFiles.RunningKind()
	if like.IsZero() {
		t.Fatal("nothing is known of the running image")
	}
	if kind, err := elfimage.ReadKind(c.File, c.ID.Size); err != nil || !kind.SameAs(like) {
		t.Errorf("the file is %s, %v, and what runs is %s", kind, err, like)
	}
	rules.Close()
	rules.Close()
}

func TestStat(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app")
	if err := os.WriteFile(path, bytes.Repeat([]byte("x"), 1234), 0o644); err != nil {
		t.Fatal(err)
	}
	stamp := time.Unix(1700000000, 123456000)
	if err := os.Chtimes(path, stamp, stamp); err != nil {
		t.Fatal(err)
	}
	byPath, err := statPath(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	byFile, err := statFile(f)
	if err != nil {
		t.Fatal(err)
	}
	if byPath != byFile || byPath.Size != 1234 || !byPath.Regular || byPath.Mtime != stamp.UnixNano() || byPath.Ino == 0 {
		t.Errorf("by path %+v, by file %+v", byPath, byFile)
	}
	if id, err := statPath(filepath.Dir(path)); err != nil || id.Regular {
		t.Errorf("directory: %+v, %v", id, err)
	}
	if _, err := statPath(path + "x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	f.Close()
	if _, err := statFile(f); err == nil {
		t.Error("closed file: no error")
	}
}
