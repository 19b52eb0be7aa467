package autorestart

import (
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/report"
	"github.com/autorestart-go/autorestart/internal/sys"
	"github.com/autorestart-go/autorestart/internal/watch"
)

// Logger has the methods that this package needs of a logger. [*slog.Logger] has these
// methods. Logger is an interface because importing log/slog would add half a megabyte to
// programs that have no other use for it. docs/troubleshooting.md, in the repository,
// explains every line.
//
// The arguments after the message are keys and values in turn, as in log/slog. Keys are
// strings. Values are strings, integers and errors. Errors of hooks are logged after the
// hook has returned, so a hook must not change an error that it has returned.
//
// Some parts of the library have no Logger of their own, such as package sockets,
// drainers and passed files. Their lines go to the Logger of a [Restarter]: the one with
// a Logger whose Run or Restart was called last. [RestartOnChange] and [RestartViaExec]
// count as such a call, with standard error as Logger. Before the first call, up to 64
// lines wait. Further lines are dropped, and their number is logged.
//
// A Logger is called on a goroutine of its own, with one line after the other. It may
// call this package. A restart, [Ready] and a rollback don't wait for a Logger that
// blocks, such as one that writes to a full pipe.
//
// Up to 4,096 lines, and those being written, wait for the Logger. Further lines are
// dropped. A line for which the Logger panics is dropped, too. As soon as the Logger
// takes lines again, a line at level Warn gives the number of dropped lines.
//
// Lines have at most 10 ms to be written before an exec, and one second before a call
// such as [Restarter.Run] returns. Lines that are not written before the exec are lost,
// and the next version logs their number. A time that the Logger adds is the time of the
// write. The functions that log to standard error write the time of the event.
//
// Two Loggers that are equal by == share a goroutine. All Loggers that can't be compared,
// such as functions, share one goroutine, too. A nil Logger is silent. An interface that
// holds a nil *slog.Logger is not nil, and panics for each line.
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

func newStderrLogger() Logger { return report.To(stderrLogger{"[autorestart] "}) }

func (l stderrLogger) Info(msg string, args ...any)  { l.log(msg, args) }
func (l stderrLogger) Warn(msg string, args ...any)  { l.log(msg, args) }
func (l stderrLogger) Error(msg string, args ...any) { l.log(msg, args) }

func (l stderrLogger) log(msg string, args []any) { l.LogAt(time.Now(), msg, args) }

// LogAt writes a line at once, so that lines of several goroutines don't mix. Package
// report calls it with the time when the line was logged.
func (l stderrLogger) LogAt(at time.Time, msg string, args []any) {
	sys.WriteStderr([]byte(logLine(at, l.prefix+msg, args)))
}

// stderrText writes messages alone.
type stderrText struct{ stderrLogger }

func (stderrText) LogAt(_ time.Time, msg string, _ []any) { sys.WriteStderr([]byte(msg)) }

// flushLog waits for loggers before a function returns: its caller may end the program.
func flushLog() { report.Flush(time.Second) }

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

// logTakeover logs once how the restart has gone that began this image.
func (p *process) logTakeover(logger watch.Logger, mode watch.Mode) {
	if p.restarted() && !p.takeoverLogged.Swap(true) {
		logger.Info("took over from the previous version", "path", p.launch.path,
			"generation", p.inherited.Number(handover.Generation), "times", p.phases(), "mode", mode.String())
	}
}

// phases says how long each step took after the one before, as "judged 2ms, ..., started 8ms".
func (p *process) phases() (text string) {
	rest := p.inherited.Texts[handover.Times] + strconv.FormatInt(p.started.UnixNano(), 10)
	var field string
	var last uint64
	for _, name := range phaseNames {
		field, rest, _ = strings.Cut(rest, "/")
		at, _ := strconv.ParseUint(field, 10, 64)
		if last != 0 {
			text += name + max(0, time.Duration(at-last)).Round(time.Microsecond).String() // a drain may have begun for an earlier version
		}
		last = at
	}
	return text
}

// phaseNames are those of the times between the steps, which begin with Seen.
var phaseNames = [...]string{"", "judged ", ", quiesced ", ", drained ", ", executed ", ", started "}
