package report

import "sync"

// MaxQueued bounds a [Queue]: a receiver that never returns must not fill the memory
// of a process that runs for years.
const MaxQueued = 1 << 17

// Queue calls functions one after the other, in the order in which they were added, on a
// goroutine that exists while there are functions. They may be slow: Add does not wait
// for them.
type Queue struct {
	logger Logger

	mu      sync.Mutex
	waiting []func()
	dropped int
	ended   chan struct{} // closed when the goroutine ends; nil while there is none
}

// NewQueue returns a queue that logs to logger how many functions it has dropped.
func NewQueue(logger Logger) *Queue { return &Queue{logger: To(logger)} }

// Add has f called. If MaxQueued functions are waiting, f is dropped.
func (q *Queue) Add(f func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == MaxQueued {
		q.dropped++
		return
	}
	q.waiting = append(q.waiting, f)
	if q.ended == nil {
		q.ended = make(chan struct{})
		go q.run()
	}
}

// Wait returns after the last function that was added has returned. It must not be
// called by one of them.
func (q *Queue) Wait() {
	q.mu.Lock()
	ended := q.ended
	q.mu.Unlock()
	if ended != nil {
		<-ended
	}
}

func (q *Queue) run() {
	for waiting, dropped := q.take(); len(waiting) > 0; waiting, dropped = q.take() {
		for _, f := range waiting {
			f()
		}
		if dropped > 0 {
			q.logger.Warn("reports dropped: the function that receives them is too slow", "reports", dropped)
		}
	}
}

// take takes what waits. If that is nothing, the goroutine ends.
func (q *Queue) take() (waiting []func(), dropped int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	waiting, dropped = q.waiting, q.dropped
	q.waiting, q.dropped = nil, 0
	if len(waiting) == 0 {
		close(q.ended)
		q.ended = nil
	}
	return waiting, dropped
}
