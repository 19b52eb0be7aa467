package autorestart

import (
	"os"
	"strconv"
	"sync"
	"time"
)

// Logger is what this package needs of a logger: [*slog.Logger] has these
// methods. It is an interface because importing log/slog would add half a
// megabyte to programs that have no other use for it.
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

// orSilent spares the rest of the package the question whether there is a logger.
func orSilent(l Logger) Logger {
	if l == nil {
		return silent{}
	}
	return l
}

type silent struct{}

func (silent) Info(string, ...any)  {}
func (silent) Warn(string, ...any)  {}
func (silent) Error(string, ...any) {}

// stderrLogger writes in the manner of the standard library's log package,
// without what that package's use of fmt adds to a binary.
type stderrLogger struct {
	prefix string

	mu  sync.Mutex
	buf []byte
}

func (l *stderrLogger) Info(msg string, args ...any)  { l.write(msg, args) }
func (l *stderrLogger) Warn(msg string, args ...any)  { l.write(msg, args) }
func (l *stderrLogger) Error(msg string, args ...any) { l.write(msg, args) }

func (l *stderrLogger) write(msg string, args []any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buf = appendLogLine(l.buf[:0], time.Now(), l.prefix, msg, args)
	os.Stderr.Write(l.buf)
}

func appendLogLine(b []byte, now time.Time, prefix, msg string, args []any) []byte {
	b = now.AppendFormat(b, "2006/01/02 15:04:05 ")
	b = append(b, prefix...)
	b = append(b, msg...)
	for i := 0; i < len(args); i += 2 {
		b = append(b, ' ')
		if i+1 == len(args) {
			b = append(b, "!BADKEY="...)
			b = appendLogValue(b, args[i])
			break
		}
		key, _ := args[i].(string)
		b = append(b, key...)
		b = append(b, '=')
		b = appendLogValue(b, args[i+1])
	}
	return append(b, '\n')
}

func appendLogValue(b []byte, v any) []byte {
	switch v := v.(type) {
	case nil:
		return append(b, "<nil>"...)
	case string:
		return appendLogString(b, v)
	case error:
		return appendLogString(b, v.Error())
	case interface{ String() string }:
		return appendLogString(b, v.String())
	case int:
		return strconv.AppendInt(b, int64(v), 10)
	case int64:
		return strconv.AppendInt(b, v, 10)
	case bool:
		return strconv.AppendBool(b, v)
	default:
		return append(b, '?')
	}
}

// appendLogString quotes what would not stand as one word on one line: paths
// and process names come from outside.
func appendLogString(b []byte, s string) []byte {
	if s == "" {
		return append(b, `""`...)
	}
	for _, r := range s {
		if r <= ' ' || r == '"' || r == '=' || !strconv.IsPrint(r) {
			return strconv.AppendQuote(b, s)
		}
	}
	return append(b, s...)
}
