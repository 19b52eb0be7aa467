package autorestart

import (
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
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

func TestDefaultEscalation(t *testing.T) {
	want := []EscalationStep{{syscall.SIGHUP, 5 * time.Second}, {syscall.SIGINT, 2 * time.Minute}, {syscall.SIGTERM, time.Minute}}
	got := DefaultEscalation()
	if !slices.Equal(got, want) {
		t.Errorf("DefaultEscalation() = %v", got)
	}
	got[0].Signal = syscall.SIGKILL
	if !slices.Equal(DefaultEscalation(), want) {
		t.Error("a caller can change the default")
	}
}

func TestExitString(t *testing.T) {
	for want, e := range map[string]ChildExit{
		"exit status 0":                              {},
		"exit status 3":                              {Code: 3},
		"signal: killed":                             {Code: -1, Signal: syscall.SIGKILL},
		"signal: terminated (core dumped)":           {Code: -1, Signal: syscall.SIGTERM, CoreDump: true},
		"waited for by another part of this process": {Code: -1, Lost: true},
	} {
		if got := e.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
