package autorestart

import (
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

var (
	_ Logger = (*slog.Logger)(nil)
	_ Logger = (*stderrLogger)(nil)
)

func TestFormatTime(t *testing.T) {
	check := func(unix int64) {
		t.Helper()
		want := time.Unix(unix, 0).UTC().Format(time.RFC3339)
		if got := formatTime(unix); got != want {
			t.Fatalf("%d: got %s, want %s", unix, got, want)
		}
	}
	// Every day around the ends of months and years that differ.
	for _, year := range []int{1970, 1971, 1972, 1999, 2000, 2001, 2023, 2024, 2025, 2026, 2037, 2038, 2099, 2100, 2101, 2399, 2400, 2401, 9999} {
		start := time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC)
		for day := start; day.Year() == year; day = day.AddDate(0, 0, 1) {
			check(day.Unix())
			check(day.Unix() + 86399)
		}
	}
	for _, unix := range []int64{0, 1, 59, 60, 3599, 3600, 1<<31 - 1, 1 << 31, 1<<32 - 1, 1 << 32, 253402300799} {
		check(unix)
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 20000 {
		check(r.Int64N(253402300800)) // up to the end of 9999
	}
}

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

		// Nobody here calls it so; a line must come out all the same.
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
		{"a\nb", `"a\x0ab"`},
		{"a\tb", `"a\x09b"`},
		{"a\x00b", `"a\x00b"`},
		{"\x1b[31m", `"\x1b[31m"`},
		{"\x7f", `"\x7f"`},
		{"größe", "größe"},
		{"größe 5", `"größe 5"`},
		{"日本", "日本"},
		{"\xff", `"\xff"`},
		{"\x9b31m", `"\x9b31m"`}, // moves a terminal as ESC [ does
		{"gr\xc3", `"gr\xc3"`},
		{"ö\xff", `"\xc3\xb6\xff"`},
	}
	for _, test := range tests {
		if got := logWord(test.s); got != test.want {
			t.Errorf("%q: got %s, want %s", test.s, got, test.want)
		}
	}
}

// TestQuote: what is quoted is one line that can be read back.
func TestQuote(t *testing.T) {
	check := func(s string) {
		t.Helper()
		quoted := quote(s)
		if strings.ContainsAny(quoted, "\n\r\x1b\x00\x7f") {
			t.Errorf("%q: control characters in %q", s, quoted)
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

func TestOrSilent(t *testing.T) {
	l := orSilent(nil)
	l.Info("x")
	l.Warn("x", "key")
	l.Error("x", "key", "value")
	if own := newStderrLogger(); orSilent(own) != own {
		t.Error("a logger was replaced")
	}
}
