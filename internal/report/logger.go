// Package report carries what the library has to say to a program that may not be
// ready for it: log lines from before there is a logger, and reports to a receiver
// that may be slow.
package report

// Logger has the methods of [log/slog.Logger] that the library uses. It is the
// interface of that name in the root package.
type Logger interface {
	Info(msg string, args ...any)
	Warn(msg string, args ...any)
	Error(msg string, args ...any)
}

// OrSilent returns l, or a logger that discards everything if l is nil.
func OrSilent(l Logger) Logger {
	if l == nil {
		return silent{}
	}
	return l
}

type silent struct{}

func (silent) Info(string, ...any)  {}
func (silent) Warn(string, ...any)  {}
func (silent) Error(string, ...any) {}
