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
	if len(n.waiting) < maxNotices {
		n.waiting = append(n.waiting, notice{msg, args})
	}
	n.tell()
	n.mu.Unlock()
}

// attach has l hear what waits, and whatever comes.
func (n *noticeBoard) attach(l Logger) {
	n.mu.Lock()
	if l != nil {
		n.logger = l
	}
	n.tell()
	n.mu.Unlock()
}

func (n *noticeBoard) tell() {
	if n.logger == nil {
		return
	}
	for _, w := range n.waiting {
		n.logger.Warn(w.msg, w.args...)
	}
	n.waiting = nil
}
