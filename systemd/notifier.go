package systemd

import (
	"sync"
	"time"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/image"
	"github.com/autorestart-go/autorestart/internal/passing"
	"github.com/autorestart-go/autorestart/internal/sdnotify"
	"github.com/autorestart-go/autorestart/internal/step"
)

const (
	extendEvery = 5 * time.Second          // from one extension in a drain to the next
	extension   = 15 * time.Second         // of the timeouts, from the message on; longer than extendEvery on a busy machine, too
	startTime   = passing.UnclaimedTimeout // from the exec to the Start of the next version, which knows how long it may take
)

// A notifier makes messages of the steps of a restart.
type notifier struct {
	image     *image.Image
	queue     *sdnotify.Queue
	restarted bool // a previous image may have sent RELOADING=1

	mu        sync.Mutex
	running   string      // the name of the version that runs; "" before it is needed
	ready     bool        // READY=1 was sent
	starting  *time.Timer // until this image is taken for ready; nil if it is
	reloading bool        // RELOADING=1 was sent, and READY=1 was not
	executing bool        // the exec comes next
	extending *time.Timer // sends the next extension; nil unless the program is drained
}

func newNotifier(i *image.Image, queue *sdnotify.Queue) *notifier {
	return &notifier{image: i, queue: queue, restarted: i.Inherited.Number(handover.PID) != 0}
}

// start begins to send. A version that never calls Ready becomes the one that serves when its time
// for that is up, unless it is rolled back. Then a reload must not wait any longer.
func (n *notifier) start() {
	n.image.OnStep(n.step)
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.ready:
	case !autorestart.LastRestart().Ready.IsZero():
		n.becomeReady("")
	default:
		limit := startLimit(n.image)
		n.starting = time.AfterFunc(limit, n.startingEnds)
		if n.restarted && limit > startTime+extension {
			n.queue.Send(sdnotify.Message{Extend: limit + extension})
		}
	}
}

// startLimit is how long this image may take from its start until it is ready, and a moment longer:
// a rollback comes first.
func startLimit(i *image.Image) time.Duration {
	return time.Until(autorestart.LastRestart().Started.Add(i.ReadyWithin() + time.Second))
}

func (n *notifier) startingEnds() {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.ready:
	case n.restarted && !n.executing:
		n.becomeReady(", but has not called Ready")
	default:
		n.starting = nil
	}
}

// step is called with each step of a restart, and does not block.
func (n *notifier) step(kind step.Kind, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch kind {
	case step.Ready:
		if !n.ready {
			n.becomeReady("")
		}
	case step.Draining:
		n.stopExtending()
		n.reload(extension)
		n.extending = time.AfterFunc(extendEvery, n.extend)
	case step.Restarting:
		n.stopExtending()
		n.executing = true
		n.reload(startTime + extension)
	case step.RollingBack:
		n.stopExtending()
		n.executing = true
		n.queue.Send(sdnotify.Message{Extend: startTime + extension})
	case step.RollbackFailed:
		n.executing = false
		switch {
		case !n.ready && n.starting == nil:
			n.becomeReady(", but has not called Ready")
		case n.ready && n.reloading && !n.image.Restarts.Load(): // the outcome of that restart came in the rollback
			n.stopExtending()
			n.becomeReady("")
		}
	case step.Rejected:
		// Another version may be rejected while one is about to be executed.
		if !n.image.IsReplaced() {
			n.callOff(err)
		}
	}
}

// becomeReady is called with n locked.
func (n *notifier) becomeReady(but string) {
	n.ready, n.reloading = true, false
	if n.starting != nil {
		n.starting.Stop()
		n.starting = nil
	}
	m := sdnotify.Message{Ready: true, Status: n.serving() + but}
	if err := autorestart.RolledBack(); err != nil {
		m.Status += ": " + reason(err)
	}
	if n.restarted {
		m.Reloading = sdnotify.Monotonic()
	}
	n.queue.Send(m)
}

// reload sends that a reload is under way, unless that is known, and that it may take some time. A
// service that has not started yet can't reload. It is called with n locked.
func (n *notifier) reload(within time.Duration) {
	m := sdnotify.Message{Extend: within}
	if !n.reloading {
		n.reloading = true
		m.Status = n.name() + " is being replaced"
		if n.ready || n.restarted {
			m.Reloading = sdnotify.Monotonic()
		}
	}
	n.queue.Send(m)
}

// callOff sends that this version goes on. RELOADING=1 comes with READY=1, because a reload may
// have been asked for after the first RELOADING=1. It is called with n locked.
func (n *notifier) callOff(err error) {
	n.stopExtending()
	n.executing, n.reloading = false, false
	m := sdnotify.Message{Status: n.serving() + ": new version rejected"}
	if err != nil {
		m.Status += ": " + reason(err)
	}
	if n.ready || n.restarted && n.starting == nil {
		n.ready, m.Ready = true, true
		m.Reloading = sdnotify.Monotonic()
	}
	n.queue.Send(m)
}

func (n *notifier) extend() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.extending != nil && n.image.Drainers.IsDraining() {
		n.queue.Send(sdnotify.Message{Extend: extension})
		n.extending.Reset(extendEvery)
	}
}

// stopExtending is called with n locked.
func (n *notifier) stopExtending() {
	if n.extending != nil {
		n.extending.Stop()
		n.extending = nil
	}
}
