package autorestart

import "sync"

// notices are what this package has to say where no logger is at hand. They wait
// for the first [Restarter] that has one.
var notices noticeBoard

type noticeBoard struct {
	mu      sync.Mutex
	logger  Logger
	waiting []notice
}

type notice struct {
	msg  string
	args []any
}

const maxNotices = 64 // waiting

func (n *noticeBoard) add(msg string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.logger != nil {
		n.logger.Warn(msg, args...)
	} else if len(n.waiting) < maxNotices {
		n.waiting = append(n.waiting, notice{msg, args})
	}
}

// attach has l hear what waits, and whatever comes.
func (n *noticeBoard) attach(l Logger) {
	if l == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.logger = l
	for _, w := range n.waiting {
		l.Warn(w.msg, w.args...)
	}
	n.waiting = nil
}
