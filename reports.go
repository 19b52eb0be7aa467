package autorestart

import (
	"sync"
	"syscall"

	"github.com/autorestart-go/autorestart/internal/report"
)

// reports passes on what happens to children to somebody who may be slow: it
// queues, and a goroutine of its own delivers.
type reports struct {
	wanted bool // whether anybody listens
	tell   func(ChildExit)
	logger Logger

	mu      sync.Mutex
	filled  sync.Cond
	queue   []func()
	dropped int
	closed  bool
	ended   chan struct{}
}

// maxReports bounds the queue: a receiver that never comes back must not fill
// the memory of a process 1.
const maxReports = 1 << 17

// startReports starts the delivery. The caller closes it.
func startReports(tell func(ChildExit), logger Logger) *reports {
	r := &reports{
		wanted: tell != nil || logger != nil,
		tell:   tell,
		logger: report.OrSilent(logger),
		ended:  make(chan struct{}),
	}
	r.filled.L = &r.mu
	if r.wanted {
		go r.deliver()
	} else {
		close(r.ended)
	}
	return r
}

// close returns after everything queued has been delivered.
func (r *reports) close() {
	r.mu.Lock()
	r.closed = true
	r.filled.Signal()
	r.mu.Unlock()
	<-r.ended
}

func (r *reports) deliver() {
	defer close(r.ended)
	for {
		r.mu.Lock()
		for len(r.queue) == 0 && !r.closed {
			r.filled.Wait()
		}
		queue, dropped := r.queue, r.dropped
		r.queue, r.dropped = nil, 0
		r.mu.Unlock()
		if len(queue) == 0 {
			return
		}
		for _, f := range queue {
			f()
		}
		if dropped > 0 {
			r.logger.Warn("too slow a receiver: reports dropped", "reports", dropped)
		}
	}
}

// add queues f, which the delivering goroutine will call.
func (r *reports) add(f func()) {
	if !r.wanted {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.queue) == maxReports {
		r.dropped++
		return
	}
	r.queue = append(r.queue, f)
	r.filled.Signal()
}

func (r *reports) began(living, byPID int, listedBy string) {
	r.add(func() {
		r.logger.Info("inherited children", "living", living, "without_pidfd", byPID, "listed_by", listedBy)
	})
}

// reaped reports e, which may be nil if nobody listens.
func (r *reports) reaped(e *ChildExit) {
	r.add(func() {
		r.logger.Info("child reaped", "pid", e.PID, "command", e.Command, "status", e.String())
		if r.tell != nil {
			r.tell(*e)
		}
	})
}

func (r *reports) signalled(pid int, sig syscall.Signal, err error) {
	r.add(func() {
		if err != nil {
			r.logger.Warn("cannot signal child", "pid", pid, "signal", sig.String(), "error", err)
		} else {
			r.logger.Info("signal sent to child", "pid", pid, "signal", sig.String())
		}
	})
}
