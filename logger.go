package autorestart

import (
	"strconv"
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
		return silent
	}
	return l
}

var silent Logger = (*stderrLogger)(nil)

// stderrLogger writes lines like "2026-01-31T23:59:59Z [autorestart] message
// key=value"; a nil one writes nothing. The lines are in UTC because local time
// would load the time zones, and put together by hand because fmt would: both
// into each program, and the zones in each restart.
type stderrLogger struct{ prefix string }

func (l *stderrLogger) Info(msg string, args ...any)  { l.write(msg, args) }
func (l *stderrLogger) Warn(msg string, args ...any)  { l.write(msg, args) }
func (l *stderrLogger) Error(msg string, args ...any) { l.write(msg, args) }

// write writes a line at once, so that no two mix.
func (l *stderrLogger) write(msg string, args []any) {
	if l != nil {
		writeStderr([]byte(logLine(time.Now(), l.prefix+msg, args)))
	}
}

func logLine(now time.Time, msg string, args []any) string {
	s := formatTime(now.Unix()) + " " + msg
	for i := 0; i+1 < len(args); i += 2 {
		key, _ := args[i].(string)
		s += " " + key + "=" + logValue(args[i+1])
	}
	return s + "\n"
}

// formatTime formats a time in seconds since 1970 as RFC 3339 has it. The methods
// of [time.Time] would do, were it not for the zones.
func formatTime(unix int64) string {
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
	b := []byte("YYYY-MM-DDThh:mm:ssZ")
	for i, n := range [...]int{year / 100, year % 100, month + 3, day + 1, second / 3600, second / 60 % 60, second % 60} {
		at := max(0, 3*i-1) // only between the first two there is nothing
		b[at], b[at+1] = byte('0'+n/10), byte('0'+n%10)
	}
	return string(b)
}

// logValue knows the kinds of values that this package logs.
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
	plain := s != "" && utf8.ValidString(s)
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c == '"' || c == '=' || c == 0x7f {
			plain = false
		}
	}
	if plain {
		return s
	}
	return quote(s)
}

func quote(s string) string {
	const hex = "0123456789abcdef"
	valid := utf8.ValidString(s)
	b := []byte{'"'}
	for i := range len(s) {
		c := s[i]
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\')
		case c < ' ' || c == 0x7f || c > 0x7f && !valid:
			b = append(b, '\\', 'x', hex[c>>4])
			c = hex[c&15]
		}
		b = append(b, c)
	}
	return string(append(b, '"'))
}
