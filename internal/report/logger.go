// Package report carries messages of the library to parts of the program that may be
// slow, or not there yet: log lines to a logger, events to an observer, and reports to a
// receiver.
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

// A line is a call of a logger, or an event.
type line struct {
	to      any // a Logger, or *Events
	level   level
	at      time.Time
	msg     string
	args    []any
	event   func(lost int)
	dropped int // how many dropped lines or events it is about
}

type level int

const (
	info level = iota
	warn
	failure
)

func newLine(to any, level level, msg string, args []any) *line {
	return &line{to: to, level: level, at: time.Now(), msg: msg, args: args}
}

// A datedLogger writes when a line was logged. Others can only tell when it is written.
type datedLogger interface {
	LogAt(at time.Time, msg string, args []any)
}

func (l *line) write() {
	switch to := l.to.(type) {
	case *Events:
		to.observe(l)
	case datedLogger:
		to.LogAt(l.at, l.msg, l.args)
	case Logger:
		l.log(to)
	}
}

func (l *line) log(to Logger) {
	switch l.level {
	case info:
		to.Info(l.msg, l.args...)
	case warn:
		to.Warn(l.msg, l.args...)
	default:
		to.Error(l.msg, l.args...)
	}
}
