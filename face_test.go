//go:build unix

package autorestart

import (
	"context"
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
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/autorestart-go/autorestart/internal/candidate"
	"github.com/autorestart-go/autorestart/internal/elfimage"
	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/image"
	"github.com/autorestart-go/autorestart/internal/report"
	"github.com/autorestart-go/autorestart/internal/standin"
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
	report.Flush(time.Minute)
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

// TestAbsoluteLogical: $PWD counts if it is an absolute path of the working directory.
func TestAbsoluteLogical(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	release, current := filepath.Join(dir, "1"), filepath.Join(dir, "current")
	if err := errors.Join(os.Mkdir(release, 0o755), os.Symlink("1", current)); err != nil {
		t.Fatal(err)
	}
	t.Chdir(release)
	for pwd, want := range map[string]string{
		current:            current + "/app",
		release:            release + "/app",
		dir:                release + "/app", // another directory
		"../current":       release + "/app",
		dir + "/missing":   release + "/app",
		"":                 release + "/app",
		current + "/../1/": current + "/../1/app",
	} {
		t.Setenv("PWD", pwd)
		if got := absoluteLogical("./app"); got != want {
			t.Errorf("PWD=%s: got %q, want %q", pwd, got, want)
		}
		if got := absolute("./app"); got != release+"/app" {
			t.Errorf("PWD=%s: the working directory is that of %q, want %q", pwd, got, release+"/app")
		}
	}
}

// TestExecutablePath: a relative path is taken from the working directory once,
// and what follows does not change with that.
func TestExecutablePath(t *testing.T) {
	if got, err := self().executablePath(""); err != nil || got != self().launch.path {
		t.Errorf("got %q, %v; want this program, %q", got, err, self().launch.path)
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
		if got, err := self().executablePath(path); err != nil || got != want {
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
	if got, err := self().executablePath("app"); err != errNoDirectory {
		t.Errorf("got %q, %v; want %v", got, err, errNoDirectory)
	}
	if got, err := self().executablePath("/srv/app"); err != nil || got != "/srv/app" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestExecutablePathUnknown(t *testing.T) {
	old := self().launch
	defer func() { self().launch = old }()
	self().launch.path = ""
	if got, err := self().executablePath(""); err != errNoPath {
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
	if !filepath.IsAbs(self().launch.path) {
		t.Fatalf("launch path %q", self().launch.path)
	}
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	a, errA := os.Stat(self().launch.path)
	b, errB := os.Stat(executable)
	if err := errors.Join(errA, errB); errors.Is(err, fs.ErrNotExist) {
		t.Skip(err)
	} else if err != nil || !os.SameFile(a, b) {
		t.Errorf("%s is not %s, %v", self().launch.path, executable, err)
	}
	if len(self().launch.args) != len(os.Args) {
		t.Errorf("arguments %q, want %q", self().launch.args, os.Args)
	}
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

		// Two builds of one work tree that is not committed have the same version.
		"v1.4.2+dirty.content":              {ID: "action/main/x/content", Version: "v1.4.2+dirty"},
		"v4.0.0+incompatible.dirty.content": {ID: "action/main/x/content", Version: "v4.0.0+incompatible.dirty"},
	} {
		if got := b.String(); got != want {
			t.Errorf("%+v is %q, want %q", b, got, want)
		}
	}
}

// TestNamesOfBuilds: the log line of a restart tells the two builds apart.
func TestNamesOfBuilds(t *testing.T) {
	for _, test := range []struct {
		from, to         BuildInfo
		wantFrom, wantTo string
	}{
		{BuildInfo{ID: "a/1", Version: "v1.0.0"}, BuildInfo{ID: "a/2", Version: "v1.1.0"}, "v1.0.0", "v1.1.0"},
		{BuildInfo{ID: "a/1", Version: "v1.0.0"}, BuildInfo{ID: "a/2", Version: "v1.0.0"}, "v1.0.0+1", "v1.0.0+2"},
		{BuildInfo{ID: "a/1", Version: "v1.0.0"}, BuildInfo{ID: "a/1", Version: "v1.0.0"}, "v1.0.0", "v1.0.0"},
		{BuildInfo{ID: "a/1", Version: "v1.0.0+dirty"}, BuildInfo{ID: "a/2", Version: "v1.0.0+dirty"}, "v1.0.0+dirty.1", "v1.0.0+dirty.2"},
		{BuildInfo{}, BuildInfo{}, "unknown", "unknown"},
	} {
		if from, to := names(test.from, test.to); from != test.wantFrom || to != test.wantTo {
			t.Errorf("%+v and %+v: from=%s to=%s, want %s and %s", test.from, test.to, from, to, test.wantFrom, test.wantTo)
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
	if want := "autorestart: /srv/app: found no file that can be read (input/output error), expected a file that this process can read"; err.Error() != want {
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
	const want = "autorestart: /srv/app: found a version that Verify has rejected (no good), expected a version that Verify accepts"
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
	logger := rejectionLogger{log, func(error, candidate.ID) {}}
	logger.Warn("new version rejected", "reason", &candidate.Rejection{Path: "/app", Retryable: true})
	logger.Warn("new version rejected", "reason", plain)
	if len(log.errs) != 2 || !isRetryable(log.errs[0]) || log.errs[1] != plain {
		t.Errorf("got %#v", log.errs)
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

// TestTimesCross: the form in which other versions of this library write and read the
// times of a restart, as in internal/handover/testdata.
func TestTimesCross(t *testing.T) {
	const golden = "1/2/3/4/" // package handover adds that of the execve
	times := RestartTimes{
		Seen: time.Unix(0, 1), Judged: time.Unix(0, 2), Quiesced: time.Unix(0, 3), Drained: time.Unix(0, 4), Executed: time.Unix(0, 5),
	}
	if got := times.format(); got != golden {
		t.Errorf("written as %q, want %q", got, golden)
	}
	inherited := new(handover.State)
	inherited.Texts[handover.Times] = golden + "0000000000000000005/"
	if got := (&process{inherited: inherited}).restartTimes(); got != times {
		t.Errorf("read %+v, want %+v", got, times)
	}
}

// TestPathIsCopied: it is often an argument of the program, which may write a title there.
func TestPathIsCopied(t *testing.T) {
	path := []byte("/srv/app")
	got, err := self().executablePath(unsafe.String(&path[0], len(path)))
	copy(path, "/xxxxxxx")
	if err != nil || got != "/srv/app" {
		t.Errorf("%q, %v", got, err)
	}
}

// Pass without a file says what to call, and changes nothing.
func TestPassNeedsAFile(t *testing.T) {
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := Pass("a file", f); err != nil {
		t.Fatal(err)
	}
	if err := Pass("a file", nil); err == nil || !strings.Contains(err.Error(), "Unpass") {
		t.Errorf("without a file: %v", err)
	}
	if own, err := Inherited("a file"); err != nil {
		t.Error(err)
	} else {
		own.Close()
	}
	Unpass("a file")
	if _, err := Inherited("a file"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("unpassed: %v", err)
	}
}

// A version that can't be a stand-in is rejected before anything is started.
func TestOlderLibraryHasNoStandIn(t *testing.T) {
	o := overlapping{r: &Restarter{Overlap: true}}
	older := elfimage.Build{LibraryVersion: "v0.0.0-20261127150000-0123456789ab"}
	err := o.replace(t.Context(), &replacement{c: &candidate.Candidate{Path: "/srv/app", Build: older}})
	rejected, ok := errors.AsType[*RejectedError](err)
	if !ok || rejected.Retryable || !strings.HasSuffix(rejected.Found, " has no Overlap") {
		t.Errorf("got %v, want a rejection", err)
	}
}

// As long as this version may be rolled back to one that has no stand-ins, it starts none.
func TestPreviousHasNoStandIns(t *testing.T) {
	trial := new(handover.State)
	trial.Set(handover.Connections, 1)
	x := &replacement{r: &Restarter{Overlap: true}, c: &candidate.Candidate{Path: "/srv/app"}, prepared: &prepared{trial: trial}}
	drained, ok := x.checkTrial().(*drainedError)
	if !ok || !isRetryable(drained.error) || !strings.Contains(drained.Error(), " has no Overlap, expected the end of the trial") {
		t.Errorf("got %v, want a rejection that may pass", drained)
	}
	trial.Set(handover.Connections, 2)
	if err := x.checkTrial(); err != nil {
		t.Error(err)
	}
}

// A version that waits for the end of a stand-in gives way to a newer one.
func TestWaitForRoomEndsWithNewerVersion(t *testing.T) {
	changed := errors.New("another file")
	x := &replacement{lastLook: func() error { return changed }}
	never := func(ctx context.Context, _ int) error {
		<-ctx.Done()
		return ctx.Err()
	}
	synctest.Test(t, func(t *testing.T) {
		if err := x.awaitRoom(t.Context(), never, 1); err != changed {
			t.Errorf("got %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := x.awaitRoom(ctx, never, 1); err != errEnded {
			t.Errorf("got %v", err)
		}
	})
}

// While a stand-in serves until this version is ready, no other one is executed.
func TestReadyBeforeNextRestart(t *testing.T) {
	for _, beside := range []int{0, 1} {
		h := new(handover.State)
		h.Set(handover.Beside, beside)
		p := &process{img: unsafe.Pointer(image.Start(h, nil)), inherited: h, started: time.Now(), isReady: make(chan struct{})}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		c := &candidate.Candidate{Path: "/srv/app"}
		err := p.awaitSettled(ctx, new(Restarter), c, func() error { return nil })
		if (err != nil) != (beside == 1) {
			t.Errorf("beside %d: %v", beside, err)
		}
	}
}

func TestOverlapIsUnsupported(t *testing.T) {
	if standin.Supported() == nil {
		t.Skip("this system has stand-ins")
	}
	for name, f := range map[string]func(*Restarter) error{
		"Run":     func(r *Restarter) error { return r.Run(t.Context()) },
		"Restart": func(r *Restarter) error { return r.Restart(t.Context()) },
	} {
		if err := f(&Restarter{Overlap: true}); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%s: got %v, want one that wraps %v", name, err, errors.ErrUnsupported)
		}
	}
}
