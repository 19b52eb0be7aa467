package report

import "sync"

// maxWaiting is how many log lines wait for a logger. Later ones are dropped.
const maxWaiting = 64

// Backlog keeps the log lines of code that has no logger at hand until there is one.
type Backlog struct {
	mu      sync.Mutex
	logger  Logger
	waiting []line
}

type line struct {
	msg  string
	args []any
}

// Warn logs at level Warn, now or when a logger is attached.
func (b *Backlog) Warn(msg string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.waiting) < maxWaiting {
		b.waiting = append(b.waiting, line{msg, args})
	}
	b.flush()
}

// Attach sends waiting and later lines to l. A nil l changes nothing.
func (b *Backlog) Attach(l Logger) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if l != nil {
		b.logger = l
	}
	b.flush()
}

// flush is called with b locked.
func (b *Backlog) flush() {
	if b.logger == nil {
		return
	}
	for _, l := range b.waiting {
		b.logger.Warn(l.msg, l.args...)
	}
	b.waiting = nil
}

// process is the backlog of this process.
var process Backlog

// Warn logs at level Warn to the logger of this process, see [SetLogger]. Before
// there is one, the line waits.
func Warn(msg string, args ...any) { process.Warn(msg, args...) }

// SetLogger sets the logger of this process: the one of the last restart or run that
// was begun with a logger. A nil l changes nothing.
func SetLogger(l Logger) { process.Attach(l) }
