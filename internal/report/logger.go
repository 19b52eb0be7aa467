// Package report carries what the library has to say to a program that may not be
// ready for it: log lines to a logger that may be slow, or that is not there yet, and
// reports to a receiver that may be slow.
package report

import "time"

// Logger has the methods of [log/slog.Logger] that the library uses. It is the
// interface of that name in the root package.
type Logger interface {
	Info(msg string, args ...any)
	Warn(msg string, args ...any)
	Error(msg string, args ...any)
}

// To returns a logger that passes lines on to l, in their order, on a goroutine that
// exists while there are lines. Its callers neither wait for l nor see it panic. All that
// pass lines on to one l share its queue. If l is nil, lines are discarded.
func To(l Logger) Logger {
	switch l.(type) {
	case nil:
		return silent{}
	case silent, *queued:
		return l
	default:
		return &queued{l}
	}
}

type silent struct{}

func (silent) Info(string, ...any)  {}
func (silent) Warn(string, ...any)  {}
func (silent) Error(string, ...any) {}

type queued struct{ to Logger }

func (q *queued) Info(msg string, args ...any)  { q.log(info, msg, args) }
func (q *queued) Warn(msg string, args ...any)  { q.log(warn, msg, args) }
func (q *queued) Error(msg string, args ...any) { q.log(failure, msg, args) }

func (q *queued) log(level level, msg string, args []any) {
	add(newLine(q.to, level, msg, args))
}

// A line is a call of a logger.
type line struct {
	to      Logger
	level   level
	at      time.Time
	msg     string
	args    []any
	dropped int // how many dropped lines it is about
}

type level int

const (
	info level = iota
	warn
	failure
)

func newLine(to Logger, level level, msg string, args []any) *line {
	return &line{to: to, level: level, at: time.Now(), msg: msg, args: args}
}

// A datedLogger writes when a line was logged. Others can only tell when it is written.
type datedLogger interface {
	LogAt(at time.Time, msg string, args []any)
}

func (l *line) write() {
	switch d, ok := l.to.(datedLogger); {
	case ok:
		d.LogAt(l.at, l.msg, l.args)
	case l.level == info:
		l.to.Info(l.msg, l.args...)
	case l.level == warn:
		l.to.Warn(l.msg, l.args...)
	default:
		l.to.Error(l.msg, l.args...)
	}
}
