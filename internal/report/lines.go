package report

import (
	"slices"
	"sync"
	"time"
)

// maxLines bounds the lines of a logger in each of its two batches: a logger that never
// returns must not fill the memory. On one CPU a Reaper logs a thousand lines before the
// goroutine that writes them has its turn.
const maxLines = 1 << 12

const droppedMessage = "log lines dropped: the logger is too slow, or it panics"

// A lineQueue has the lines of one logger, or the events of one observer.
type lineQueue struct {
	key     any    // see keyOf
	to      any    // of the last line, where loggers share the queue
	writing *batch // nil while no goroutine writes
	waiting *batch
	current bool // a line of writing is with the logger
}

// A batch is a number of lines. After its last line, the logger gets the number of lines
// that were dropped.
type batch struct {
	lines   []*line
	dropped int           // because there was no room after these, or because the logger panicked
	written chan struct{} // closed when all lines are written
}

func newBatch() *batch { return &batch{written: make(chan struct{})} }

var (
	linesMu sync.Mutex
	queues  []*lineQueue // that have lines, or have to tell of dropped ones
)

// keyOf returns l, or nil if l does not equal itself: a function can't be compared. Such
// loggers share one queue.
func keyOf(l any) (key any) {
	defer func() { recover() }()
	if equal(l, l) {
		key = l
	}
	return key
}

// equal panics if the loggers can't be compared.
func equal(a, b any) bool { return a == b }

// add has l written, or drops it.
func add(l *line) {
	key := keyOf(l.to)
	linesMu.Lock()
	defer linesMu.Unlock()
	i := slices.IndexFunc(queues, func(q *lineQueue) bool { return q.key == key })
	if i < 0 {
		i = len(queues)
		queues = append(queues, &lineQueue{key: key, waiting: newBatch()})
	}
	q := queues[i]
	if len(q.waiting.lines) == maxLines {
		q.waiting.dropped += max(1, l.dropped)
		return
	}
	q.waiting.lines = append(q.waiting.lines, l)
	if q.writing == nil {
		q.begin()
		go q.write()
	}
}

// begin begins the next batch. It is called with linesMu locked.
func (q *lineQueue) begin() { q.writing, q.waiting = q.waiting, newBatch() }

// write writes lines until there are none.
func (q *lineQueue) write() {
	l := q.next()
	defer func() {
		if l != nil { // the logger has panicked, or ended the goroutine by runtime.Goexit
			recover()
			q.lose(l)
			go q.write()
		}
	}()
	for ; l != nil; l = q.next() {
		l.write()
	}
}

// next returns the next line. If it returns nil, the goroutine ends.
func (q *lineQueue) next() *line {
	linesMu.Lock()
	defer linesMu.Unlock()
	q.current = false
	b := q.writing
	switch {
	case len(b.lines) > 0:
	case b.dropped > 0:
		l := newLine(q.to, warn, droppedMessage, []any{"lines", b.dropped})
		l.dropped, b.dropped = b.dropped, 0
		q.current = true
		return l
	default:
		close(b.written)
		if len(q.waiting.lines) == 0 {
			q.end()
			return nil
		}
		q.begin()
		b = q.writing
	}
	l := b.lines[0]
	q.to = l.to
	b.lines[0] = nil
	b.lines = b.lines[1:]
	q.current = true
	return l
}

// end notes that no goroutine writes any more. It is called with linesMu locked.
func (q *lineQueue) end() {
	q.writing = nil
	if e, ok := q.key.(*Events); q.waiting.dropped == 0 && !(ok && e.lost > 0) {
		queues = slices.DeleteFunc(queues, func(other *lineQueue) bool { return other == q })
	}
}

// lose counts a line that could not be written. A logger that does not take the number
// of dropped lines either gets it after the next batch.
func (q *lineQueue) lose(l *line) {
	linesMu.Lock()
	defer linesMu.Unlock()
	if l.dropped > 0 {
		q.waiting.dropped += l.dropped
	} else {
		q.writing.dropped++
	}
}

// Flush waits until the lines that were logged before the call are written, and the events
// are observed, for at most the given time. It returns how many are not.
func Flush(limit time.Duration) (lines, events int) {
	end := time.After(limit)
	for _, written := range unwritten() {
		select {
		case <-written:
		case <-end:
			return countUnwritten()
		}
	}
	_, events = countUnwritten()
	return 0, events
}

func countUnwritten() (lines, events int) {
	linesMu.Lock()
	defer linesMu.Unlock()
	for _, q := range queues {
		if e, ok := q.key.(*Events); ok {
			events += q.count() + e.lost
		} else {
			lines += q.count()
		}
	}
	return lines, events
}

// count is called with linesMu locked.
func (q *lineQueue) count() (n int) {
	if q.current {
		n++
	}
	for _, b := range []*batch{q.writing, q.waiting} {
		if b != nil {
			n += len(b.lines) + b.dropped
		}
	}
	return n
}

// unwritten returns a channel for each queue, which is closed when its lines are written.
func unwritten() (channels []chan struct{}) {
	linesMu.Lock()
	defer linesMu.Unlock()
	for _, q := range queues {
		switch {
		case len(q.waiting.lines) > 0:
			channels = append(channels, q.waiting.written)
		case q.writing != nil:
			channels = append(channels, q.writing.written)
		}
	}
	return channels
}
