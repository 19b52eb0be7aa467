package watch_test

import (
	"context"
	"errors"
	"syscall"
	"testing/synctest"
	"time"

	"github.com/autorestart-go/autorestart/internal/candidate"
	"github.com/autorestart-go/autorestart/internal/watch"
)

// A caller of a watcher: it answers candidates as a Watcher does, or as a Restarter, which
// executes them.
type caller struct {
	k       *kernel
	w       *world
	oracle  *oracle
	watcher *watch.Watcher
	failed  candidate.Failed
}

type discard struct{}

func (discard) Info(string, ...any) {}
func (discard) Warn(string, ...any) {}

// start is the start of an image: it makes rules and a watcher, as process.newWatcher does.
func (c *caller) start() {
	c.k.started = c.k.running.id()
	c.oracle.baseIs(c.k.running, true)
	rules := candidate.NewRules(c.k, c.w.path)
	rules.TrustAnyOwner = c.k.config.trustsAny
	rules.Failed = c.failed
	rules.SumRunning()
	c.oracle.remembered()
	c.watcher = &watch.Watcher{
		Path: c.w.path, PollInterval: c.k.config.interval, Rules: rules, Events: eventsOf{c.k}, Logger: discard{},
	}
}

// run calls Next until ctx ends.
func (c *caller) run(ctx context.Context) {
	c.start()
	for {
		next, err := c.watcher.Next(ctx)
		if err != nil {
			if err != errEnded {
				c.k.Failf("Next: %v", err)
			}
			return
		}
		c.k.Tracef("Next: %v", next.File.(*handle).node)
		c.oracle.offered(next)
		if c.k.config.restarts {
			c.restart(ctx, next)
		} else {
			c.answer(next, nil)
		}
		if c.k.Chance(3) {
			c.w.sleep(ctx, c.k.Duration(5*time.Second))
		}
	}
}

// answer answers for a reason, or for any.
func (c *caller) answer(next *candidate.Candidate, reason error) {
	kind := c.k.IntN(8)
	if c.w.isCalm() && kind > 0 {
		kind = 7 // a version that is there is accepted in the end, or rejected
	}
	if reason == nil {
		reason = errors.New("no reason")
	} else if kind > 2 {
		kind = 1
	}
	switch {
	case kind == 0:
		c.k.Tracef("answer: rejected")
		c.oracle.rejected(next.ID)
		c.watcher.Rejected(reason)
	case kind == 1:
		c.k.Tracef("answer: look again")
		c.watcher.LookAgain(reason)
	case kind == 2:
		d := c.k.Duration(10 * time.Second)
		c.k.Tracef("answer: not before %v", d)
		c.oracle.postponed(next.ID, d)
		c.watcher.Postpone(reason, d)
	default:
		c.k.Tracef("answer: accepted")
		c.oracle.baseIs(next.File.(*handle).node, false)
		c.watcher.Accepted()
	}
	c.k.calls = 0
}

// restart does what Restarter.replaceImage does with a candidate.
func (c *caller) restart(ctx context.Context, next *candidate.Candidate) {
	lastLook := func() *candidate.Rejection { return c.watcher.Rules.Unchanged(next) }
	if c.k.config.verifies {
		lease := candidate.NewLease(c.k, next)
		defer lease.End()
		synctest.Wait() // the goroutine of the lease has begun
		c.w.sleep(ctx, c.k.Duration(time.Second))
		lastLook = func() *candidate.Rejection { return lease.Unchanged(c.watcher.Rules) }
		if lastLook() != nil {
			c.answer(next, errors.New("changed while it was verified"))
			return
		}
	}
	if c.k.Chance(3) { // a drain
		c.w.sleep(ctx, c.k.Duration(3*time.Second))
	}
	if !c.execute(next, lastLook) {
		c.answer(next, errors.New("not executed"))
		return
	}
	c.started(ctx, next.File.(*handle).node)
}

// execute reports whether the candidate is executed now.
func (c *caller) execute(next *candidate.Candidate, lastLook func() *candidate.Rejection) bool {
	candidate.LeaseMu.Lock()
	defer candidate.LeaseMu.Unlock()
	if rejection := lastLook(); rejection != nil {
		c.k.Tracef("the last look: %v", rejection)
		return false
	}
	n := next.File.(*handle).node
	if n.writers > 0 {
		c.k.Tracef("exec: %v", syscall.ETXTBSY)
		return false
	}
	if c.k.fail(syscall.ENOMEM, syscall.EACCES, syscall.E2BIG) != nil || !c.w.isCalm() && c.k.Chance(10) {
		c.k.Tracef("not executed")
		return false
	}
	c.k.Tracef("exec %v", n)
	c.oracle.executed(n)
	return true
}

// started is what follows an exec: the watcher of the next image. That may fail before it watches, and is
// rolled back then.
func (c *caller) started(ctx context.Context, n *node) {
	if c.k.config.handsOver {
		c.k.inherited = c.k.files.queue
	}
	before := c.k.running
	n.running = true
	c.watcher.Close()
	if n := c.k.openFiles; n != 0 {
		c.k.Failf("%d files are open after Close", n)
	}
	c.k.running = n
	if !c.k.config.silent && c.k.Chance(6) {
		executed := n.id()
		c.w.sleep(ctx, c.k.Duration(10*time.Second))
		c.k.Tracef("rolled back")
		c.k.running = before
		before = n
		c.failed = candidate.Failed{Mark: executed.Format(), Reason: "it failed"}
	} else {
		c.failed = candidate.Failed{}
	}
	if before != c.k.running {
		before.running = false
		c.k.gone(before)
	}
	c.start()
}
