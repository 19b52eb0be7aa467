package report

import "sync"

// MaxQueued bounds a [Queue]: a receiver that never returns must not fill the memory
// of a process that runs for years.
const MaxQueued = 1 << 17

// Queue calls functions one after the other, in the order in which they were added,
// on a goroutine that does nothing else. They may be slow: Add does not wait for them.
type Queue struct {
	logger Logger

	mu      sync.Mutex
	filled  sync.Cond // there is something to call, or the queue is closed
	waiting []func()
	dropped int
	closed  bool
	ended   chan struct{}
}

// NewQueue returns a queue that logs to logger how many functions it has dropped. The
// caller closes it.
func NewQueue(logger Logger) *Queue {
	q := &Queue{logger: OrSilent(logger), ended: make(chan struct{})}
	q.filled.L = &q.mu
	go q.run()
	return q
}

// Add has f called. If MaxQueued functions are waiting, f is dropped.
func (q *Queue) Add(f func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == MaxQueued {
		q.dropped++
		return
	}
	q.waiting = append(q.waiting, f)
	q.filled.Signal()
}

// Close returns after the last function that was added has returned. It must not be
// called by one of them.
func (q *Queue) Close() {
	q.mu.Lock()
	q.closed = true
	q.filled.Signal()
	q.mu.Unlock()
	<-q.ended
}

func (q *Queue) run() {
	defer close(q.ended)
	for {
		q.mu.Lock()
		for len(q.waiting) == 0 && !q.closed {
			q.filled.Wait()
		}
		waiting, dropped := q.waiting, q.dropped
		q.waiting, q.dropped = nil, 0
		q.mu.Unlock()
		if len(waiting) == 0 {
			return
		}
		for _, f := range waiting {
			f()
		}
		if dropped > 0 {
			q.logger.Warn("reports dropped: the receiver is too slow", "reports", dropped)
		}
	}
}
