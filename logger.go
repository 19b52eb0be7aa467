package autorestart

import (
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/autorestart-go/autorestart/internal/sys"
)

// Logger is what this package needs of a logger: [*slog.Logger] has these
// methods. It is an interface because importing log/slog would add half a
// megabyte to programs that have no other use for it.
//
// A Logger that is nil is silent; an interface that holds a nil *slog.Logger is
// not nil, and will panic.
//
// The arguments after the message alternate between keys, which are strings,
// and values, as in log/slog.
//
// [*slog.Logger]: https://pkg.go.dev/log/slog#Logger
type Logger interface {
	Info(msg string, args ...any)
	Warn(msg string, args ...any)
	Error(msg string, args ...any)
}

// stderrLogger is the logger of the seven functions. It writes lines like
// "2026-01-31T23:59:59Z [autorestart] message key=value" to standard error.
type stderrLogger struct{ prefix string }

func newStderrLogger() Logger { return stderrLogger{"[autorestart] "} }

func (l stderrLogger) Info(msg string, args ...any)  { l.write(msg, args) }
func (l stderrLogger) Warn(msg string, args ...any)  { l.write(msg, args) }
func (l stderrLogger) Error(msg string, args ...any) { l.write(msg, args) }

// write writes a line at once, so that lines of several goroutines don't mix.
func (l stderrLogger) write(msg string, args []any) {
	sys.WriteStderr([]byte(logLine(time.Now(), l.prefix+msg, args)))
}

func logLine(now time.Time, msg string, args []any) string {
	line := now.UTC().Format(time.RFC3339) + " " + msg
	for i := 0; i+1 < len(args); i += 2 {
		key, _ := args[i].(string)
		line += " " + key + "=" + logValue(args[i+1])
	}
	return line + "\n"
}

// logValue formats the kinds of values that this package logs.
func logValue(v any) string {
	switch v := v.(type) {
	case string:
		return logWord(v)
	case error:
		return logWord(v.Error())
	case int:
		return strconv.Itoa(v)
	case nil:
		return "<nil>"
	default:
		return "?"
	}
}

// logWord quotes what would not stand as one word on one line: paths and process
// names come from outside.
func logWord(s string) string {
	special := func(r rune) bool {
		return r == ' ' || r == '"' || r == '=' || r == utf8.RuneError || !strconv.IsPrint(r)
	}
	if s == "" || strings.ContainsFunc(s, special) {
		return strconv.Quote(s)
	}
	return s
}
