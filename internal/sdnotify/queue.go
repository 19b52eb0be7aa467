package sdnotify

import (
	"errors"
	"sync"
	"time"

	"github.com/autorestart-go/autorestart/internal/report"
)

// Pauses before a message that waits is sent again.
const (
	firstRetry = 10 * time.Millisecond
	lastRetry  = time.Second

	// The same where there is no receiver, and a reload waits for the message.
	firstSlowRetry = time.Second
	lastSlowRetry  = time.Minute
)

// A Queue sends messages to a [Socket] and never blocks. What can't be sent waits, and becomes one
// message with those after it: only the last status, and the last step of a reload, count. So a
// receiver that reads nothing costs no memory. While there is no receiver, what waits is sent with
// the next message. A message for which a reload waits is also sent again, less and less often.
type Queue struct {
	socket *Socket
	logger report.Logger

	mu      sync.Mutex
	waiting Message
	timer   *time.Timer   // sends what waits; nil while nothing does, or there is no receiver
	pause   time.Duration // until the timer's next attempt
	logged  bool          // the failure that lasts
	stopped bool          // STOPPING=1 is sent or waits
}

// NewQueue returns a queue for the socket, which logs to logger.
func NewQueue(socket *Socket, logger report.Logger) *Queue {
	return &Queue{socket: socket, logger: logger}
}

// Send sends m after everything that waits. After STOPPING=1 only WATCHDOG=1 is sent.
func (q *Queue) Send(m Message) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.stopped {
		m = Message{Watchdog: m.Watchdog}
		if !m.Watchdog {
			return
		}
	}
	q.stopped = q.stopped || m.Stopping
	q.waiting.add(m)
	q.flush()
}

// flush is called with q locked.
func (q *Queue) flush() {
	err := q.socket.Send(q.waiting.String())
	switch {
	case err == nil:
		if q.logged {
			q.logger.Info("systemd receives messages of this program again")
		}
		q.waiting, q.logged, q.pause = Message{}, false, 0
		q.stopTimer()
	case errors.Is(err, ErrFull):
		q.retry(err)
	default:
		q.log(err)
		if q.waiting.Ready || q.waiting.Reloading != 0 {
			q.retryWithin(firstSlowRetry, lastSlowRetry)
		}
	}
}

// stopTimer is called with q locked.
func (q *Queue) stopTimer() {
	if q.timer != nil {
		q.timer.Stop()
		q.timer = nil
	}
}

// retry sends what waits later. A queue that is full for a moment is not worth a line.
func (q *Queue) retry(err error) {
	if q.timer == nil && q.pause >= lastRetry {
		q.log(err)
	}
	q.retryWithin(firstRetry, lastRetry)
}

// retryWithin sends what waits after a pause, which is longer than the one before.
func (q *Queue) retryWithin(first, last time.Duration) {
	if q.timer != nil {
		return
	}
	q.pause = min(max(first, 2*q.pause), last)
	q.timer = time.AfterFunc(q.pause, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.timer = nil
		if q.waiting != (Message{}) {
			q.flush()
		}
	})
}

func (q *Queue) log(err error) {
	if !q.logged {
		q.logged = true
		q.logger.Warn("systemd does not receive the messages of this program: they wait, and are sent with the next one", "reason", err)
	}
}
