package autorestart

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/autorestart-go/autorestart/internal/report"
)

// A Drainer is a part of the program that takes on work from outside, and is
// brought to rest before an exec: a server, the consumer of a queue. Quiesce and
// Resume must not register or unregister any.
type Drainer interface {
	// Quiesce stops taking on new work, without a trace for those who bring it:
	// they wait. It returns soon.
	Quiesce()

	// Drain waits until what was taken on before is done, or ctx ends. Then it
	// returns an error that tells what is left; the exec cuts that off.
	Drain(ctx context.Context) error

	// Resume takes on work again: there was no exec. Drain has returned by then.
	Resume()
}

// defaultDrainTimeout is for the time that a [Restarter] does not tell.
const defaultDrainTimeout = 10 * time.Second

// What a version that failed has left for its work; and if it is stuck in one of its
// drainers, until it is left so.
const (
	drainBeforeReturn = 10 * time.Millisecond
	stuckBeforeReturn = 2 * time.Second
)

// RegisterDrainer has d brought to rest before each exec, at the same time as all
// others, until unregister is called. After [Restarter.DrainTimeout] the exec takes
// place even so; if the restart is called off, everything resumes.
func RegisterDrainer(d Drainer) (unregister func()) {
	r := useRest()
	defer r.mu.Unlock()
	entry := &registered{d}
	r.all = append(r.all, entry)
	if r.depth > 0 {
		d.Quiesce()
	}
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.all = slices.DeleteFunc(r.all, func(e *registered) bool { return e == entry })
	}
}

// Draining returns a channel that is closed while a restart brings the program to
// rest: who serves something that would go on for long ends it then. If the
// restart is called off, the next call returns another channel.
func Draining() <-chan struct{} {
	r := useRest()
	defer r.mu.Unlock()
	if r.draining == nil {
		r.draining = make(chan struct{})
		if r.depth > 0 {
			close(r.draining)
		}
	}
	return r.draining
}

type rest struct {
	mu       sync.Mutex
	all      []*registered
	depth    int           // more than one when a version on its way on is taken back
	draining chan struct{} // closed while depth is not 0; nil until somebody asks
}

type registered struct{ Drainer }

var resting rest

// useRest returns resting, locked.
func useRest() *rest {
	succession.mu.Lock()
	succession.bringToRest, succession.restToReturn = resting.begin, resting.beginReturn
	succession.mu.Unlock()
	resting.mu.Lock()
	return &resting
}

// begin is the succession's bringToRest.
func (r *rest) begin(ctx context.Context, timeout time.Duration, t *restartTimes) (resume func(), err error) {
	if timeout == 0 {
		timeout = defaultDrainTimeout
	}
	r.quiesce()
	t.quiesced = now()
	drainCtx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	ended := make(chan error)
	drained := make(map[*registered]bool)
	calledOff, done := false, ctx.Done()
	for left := 0; ; {
		// A version that is still starting registers more meanwhile.
		for _, d := range r.registered() {
			if !drained[d] {
				drained[d] = true
				left++
				go func() { ended <- d.Drain(drainCtx) }()
			}
		}
		if left == 0 {
			break
		}
		select {
		case err := <-ended:
			left--
			if err != nil && !calledOff {
				report.Warn("cutting off what is not done", "reason", err)
			}
		case <-done:
			calledOff, done = true, nil
			cancel()
		}
	}
	if calledOff {
		r.resume()
		return nil, context.Cause(ctx)
	}
	t.drained = now()
	return r.resume, nil
}

// beginReturn is the succession's restToReturn.
func (r *rest) beginReturn() (resume func()) {
	rested := make(chan func(), 1)
	go func() {
		resume, _ := r.begin(context.Background(), drainBeforeReturn, new(restartTimes))
		rested <- resume
	}()
	select {
	case resume = <-rested:
		return resume
	case <-time.After(stuckBeforeReturn):
		report.Warn("not brought to rest: a Drainer is stuck", "after", stuckBeforeReturn.String())
		return func() { go func() { (<-rested)() }() }
	}
}

func (r *rest) registered() []*registered {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.all)
}

func (r *rest) quiesce() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.depth++
	if r.depth == 1 {
		for _, d := range r.all {
			d.Quiesce()
		}
		if r.draining != nil {
			close(r.draining)
		}
	}
}

func (r *rest) resume() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.depth--
	if r.depth == 0 {
		r.draining = nil
		for _, d := range slices.Backward(r.all) { // a server before its listener
			d.Resume()
		}
	}
}
