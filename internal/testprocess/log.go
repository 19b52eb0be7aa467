package testprocess

// LogFunc is a logger that calls a function with the level and the message of each line. Like
// any function it can't be compared.
type LogFunc func(level, msg string)

// Levels of a [LogFunc].
const (
	Info  = "INFO"
	Warn  = "WARN"
	Error = "ERROR"
)

// Info logs a line.
func (f LogFunc) Info(msg string, _ ...any) { f(Info, msg) }

// Warn logs a line.
func (f LogFunc) Warn(msg string, _ ...any) { f(Warn, msg) }

// Error logs a line.
func (f LogFunc) Error(msg string, _ ...any) { f(Error, msg) }

// OnWarning returns a logger that calls the function for each line at level Warn.
func OnWarning(warned func()) LogFunc {
	return func(level, _ string) {
		if level == Warn {
			warned()
		}
	}
}
