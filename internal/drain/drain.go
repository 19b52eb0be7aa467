// Package drain quiesces and drains the parts of a program that take work from
// outside, before an exec, and has them resume where there is no exec.
package drain

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/autorestart-go/autorestart/internal/report"
)

// Drainer is the interface of that name in the root package.
type Drainer interface {
	Quiesce()
	Drain(ctx context.Context) error
	Resume()
}

// Process has the drainers of this process.
var Process Group

// Notifier is a group that would notice a drain.
type Notifier interface {
	Begin(ctx context.Context, timeout time.Duration) (*Drain, error)
	BeginRollback() (resume func())
}

// A Group is a set of drainers that are quiesced and drained together. The zero value
// is empty.
type Group struct {
	mu       sync.Mutex
	members  []*member
	depth    int           // drains under way; a rollback may begin one during another
	draining chan struct{} // closed while depth is not 0; nil until it is asked for

	// notifier is the group itself once it has drainers or its channel was asked for. It
	// is an interface so that a program that never drains does not contain the code for
	// it. A rollback reads it while mu is held by a drainer that does not return.
	notifier atomic.Pointer[Notifier]
}

// A member is one registration: a Drainer may be registered twice.
type member struct{ Drainer }

// Register adds d to the group until unregister is called. While a drain is under
// way, d is quiesced at once, and drained with the others.
func (g *Group) Register(d Drainer) (unregister func()) {
	g.setNotifier()
	g.mu.Lock()
	defer g.mu.Unlock()
	m := &member{d}
	g.members = append(g.members, m)
	if g.depth > 0 {
		d.Quiesce()
	}
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.members = slices.DeleteFunc(g.members, func(other *member) bool { return other == m })
	}
}

// Draining returns a channel that is closed while a drain is under way. After a
// resume the next call returns another channel.
func (g *Group) Draining() <-chan struct{} {
	g.setNotifier()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.draining == nil {
		g.draining = make(chan struct{})
		if g.depth > 0 {
			close(g.draining)
		}
	}
	return g.draining
}

// Notifier returns the group if it has drainers or its channel was asked for, and nil
// otherwise.
func (g *Group) Notifier() Notifier {
	if n := g.notifier.Load(); n != nil {
		return *n
	}
	return nil
}

func (g *Group) setNotifier() {
	var n Notifier = g
	g.notifier.Store(&n)
}

// A Drain is a group that is drained.
type Drain struct {
	Quiesced time.Time // no new work was accepted any more
	Drained  time.Time // all work was done, or the time was up

	group *Group
}

// Begin quiesces the group and drains it for as long as timeout allows. What is left
// then is logged. If ctx ends first, everything resumes, and Begin returns its
// cause. Otherwise the caller calls Resume where no exec follows.
func (g *Group) Begin(ctx context.Context, timeout time.Duration) (*Drain, error) {
	g.quiesce()
	d := &Drain{group: g, Quiesced: time.Now()}
	limited, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	defer context.AfterFunc(ctx, cancel)()
	g.drainAll(limited, func(err error) {
		if ctx.Err() == nil {
			report.Warn("drain timeout: closing what is not done", "timeout", timeout.String(), "reason", err)
		}
	})
	if ctx.Err() != nil {
		d.Resume()
		return nil, context.Cause(ctx)
	}
	d.Drained = time.Now()
	return d, nil
}

// drainAll drains every member, those included that are registered meanwhile, as by
// a version that is still starting.
func (g *Group) drainAll(ctx context.Context, failed func(error)) {
	ended := make(chan error)
	begun := make(map[*member]bool)
	running := 0
	for {
		for _, m := range g.snapshot() {
			if !begun[m] {
				begun[m] = true
				running++
				go func() { ended <- m.Drain(ctx) }()
			}
		}
		if running == 0 {
			return
		}
		if err := <-ended; err != nil {
			failed(err)
		}
		running--
	}
}

// A version that failed has little time for its work. If one of its drainers does not
// return, the rollback does not wait for it.
const (
	rollbackTimeout = 10 * time.Millisecond
	stuckTimeout    = 2 * time.Second
)

// BeginRollback is Begin for a version that failed. The caller calls resume where no
// exec follows.
func (g *Group) BeginRollback() (resume func()) {
	stuck, cancel := context.WithTimeout(context.Background(), stuckTimeout)
	defer cancel()
	drained := make(chan *Drain, 1)
	go func() {
		d, _ := g.Begin(context.Background(), rollbackTimeout)
		drained <- d
	}()
	select {
	case d := <-drained:
		return d.Resume
	case <-stuck.Done():
		report.Warn("not drained: a Drainer does not return", "after", stuckTimeout.String())
		return func() { go func() { (<-drained).Resume() }() }
	}
}

func (g *Group) snapshot() []*member {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.members)
}

func (g *Group) quiesce() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.depth++
	if g.depth > 1 {
		return
	}
	for _, m := range g.members {
		m.Quiesce()
	}
	if g.draining != nil {
		close(g.draining)
	}
}

// Resume has the group accept work again.
func (d *Drain) Resume() {
	g := d.group
	g.mu.Lock()
	defer g.mu.Unlock()
	g.depth--
	if g.depth > 0 {
		return
	}
	g.draining = nil
	for _, m := range slices.Backward(g.members) { // a server before its listener
		m.Resume()
	}
}
