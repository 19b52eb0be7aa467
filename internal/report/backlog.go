package report

import "sync"

// maxWaiting is how many log lines wait until there is a logger. Later ones are dropped.
const maxWaiting = 64

// Backlog keeps the log lines of code that has no logger at hand until there is one.
type Backlog struct {
	mu      sync.Mutex
	to      *queued // nil until there is a logger
	waiting []*line
	dropped int
}

// Warn logs at level Warn, now or when a logger is attached.
func (b *Backlog) Warn(msg string, args ...any) { b.log(warn, msg, args) }

// Error logs at level Error in the same way.
func (b *Backlog) Error(msg string, args ...any) { b.log(failure, msg, args) }

// Info is Warn for level Info.
func (b *Backlog) Info(msg string, args ...any) { b.log(info, msg, args) }

func (b *Backlog) log(level level, msg string, args []any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.to != nil:
		b.to.log(level, msg, args)
	case len(b.waiting) < maxWaiting:
		b.waiting = append(b.waiting, newLine(nil, level, msg, args))
	default:
		b.dropped++
	}
}

// Attach sends waiting and later lines to l. A nil l changes nothing.
func (b *Backlog) Attach(l Logger) {
	to, ok := To(l).(*queued)
	if !ok {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.to = to
	for _, l := range b.waiting {
		l.to = to.to
		add(l)
	}
	if b.dropped > 0 {
		to.Warn("log lines dropped: too many came before there was a logger", "lines", b.dropped)
	}
	b.waiting, b.dropped = nil, 0
}

// process is the backlog of this process.
var process Backlog

// Warn logs at level Warn to the logger of this process, see [SetLogger]. Before
// there is one, the line waits.
func Warn(msg string, args ...any) { process.Warn(msg, args...) }

// Error logs at level Error in the same way.
func Error(msg string, args ...any) { process.Error(msg, args...) }

// Info is [Warn] for level Info.
func Info(msg string, args ...any) { process.Info(msg, args...) }

// SetLogger sets the logger of this process: the one of the last restart or run that
// was begun with a logger. A nil l changes nothing.
func SetLogger(l Logger) { process.Attach(l) }
