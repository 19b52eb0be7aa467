package autorestart

import (
	"strconv"
	"sync"
	"time"
	"unicode/utf8"
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

// stderrLogger writes lines like "2026-01-31T23:59:59Z [autorestart] message
// key=value". They are in UTC because local time would load the time zones, and
// put together by hand because fmt would: both into each program, and the zones
// in each restart.
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
	writeStderr(l.buf)
}

func appendLogLine(b []byte, now time.Time, prefix, msg string, args []any) []byte {
	b = appendTime(b, now.Unix())
	b = append(b, ' ')
	b = append(b, prefix...)
	b = append(b, msg...)
	for i := 0; i+1 < len(args); i += 2 {
		b = append(b, ' ')
		key, _ := args[i].(string)
		b = append(b, key...)
		b = append(b, '=')
		b = appendLogValue(b, args[i+1])
	}
	return append(b, '\n')
}

// appendTime appends a time in seconds since 1970 as RFC 3339 has it. The
// methods of [time.Time] would do, were it not for the zones.
func appendTime(b []byte, unix int64) []byte {
	days, second := int(unix/86400), int(unix%86400)
	// Eras of 400 years that begin in March, so that the leap day ends a year.
	days += 719468
	era, day := days/146097, days%146097
	year := (day - day/1460 + day/36524 - day/146096) / 365
	day -= 365*year + year/4 - year/100
	month := (5*day + 2) / 153
	day -= (153*month + 2) / 5
	year += 400 * era
	if month >= 10 {
		year, month = year+1, month-12
	}
	b = strconv.AppendInt(b, int64(year), 10)
	for _, field := range [...]struct {
		separator byte
		value     int
	}{{'-', month + 3}, {'-', day + 1}, {'T', second / 3600}, {':', second / 60 % 60}, {':', second % 60}} {
		b = append(b, field.separator, byte('0'+field.value/10), byte('0'+field.value%10))
	}
	return append(b, 'Z')
}

// appendLogValue knows the kinds of values that this package logs.
func appendLogValue(b []byte, v any) []byte {
	switch v := v.(type) {
	case string:
		return appendLogString(b, v)
	case error:
		return appendLogString(b, v.Error())
	case int:
		return strconv.AppendInt(b, int64(v), 10)
	case nil:
		return append(b, "<nil>"...)
	default:
		return append(b, '?')
	}
}

// appendLogString quotes what would not stand as one word on one line: paths
// and process names come from outside.
func appendLogString(b []byte, s string) []byte {
	plain := s != "" && utf8.ValidString(s)
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c == '"' || c == '=' || c == 0x7f {
			plain = false
		}
	}
	if plain {
		return append(b, s...)
	}
	return appendQuoted(b, s)
}

func appendQuoted(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	valid := utf8.ValidString(s)
	b = append(b, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < ' ' || c == 0x7f || c > 0x7f && !valid:
			b = append(b, '\\', 'x', hex[c>>4], hex[c&15])
		default:
			b = append(b, c)
		}
	}
	return append(b, '"')
}
