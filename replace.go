package autorestart

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/autorestart-go/autorestart/internal/candidate"
	"github.com/autorestart-go/autorestart/internal/drain"
	"github.com/autorestart-go/autorestart/internal/report"
	"github.com/autorestart-go/autorestart/internal/watch"
)

// The way from an accepted candidate to the exec.

// features are the parts of Run and Restart that a program does not contain which calls
// RestartOnChange alone.
type features struct {
	observe newObserver
	overlap newOverlapper
	gate    newGater

	beforeExec func(ctx context.Context, x *replacement, standIn bool) error
}

// parts are what a Run or Restart has of the features.
type parts struct {
	o       observer
	overlap overlapper
	gate    gater

	beforeExec func(ctx context.Context, x *replacement, standIn bool) error // calls BeforeExec
}

func allFeatures() features { return features{withObserve, withOverlap, withGate, callBeforeExec} }

// A replacement is a candidate on its way to the exec.
type replacement struct {
	process *process
	r       *Restarter
	rules   *candidate.Rules
	c       *candidate.Candidate
	parts
	times    RestartTimes
	lastLook func() error // whether the file is as it was judged
	lease    *candidate.Lease
	prepared *prepared
}

// newReplacement begins the way of c, which the rules accept.
func (p *process) newReplacement(r *Restarter, rules *candidate.Rules, c *candidate.Candidate, parts parts) (*replacement, error) {
	if err := readBuild(c); err != nil {
		return nil, err
	}
	parts.o.saw(EventSeen, c)
	x := &replacement{process: p, r: r, rules: rules, c: c, parts: parts}
	x.lastLook = x.unchanged
	return x, nil
}

func (x *replacement) unchanged() error { return asError(x.rules.Unchanged(x.c)) }

// check finds out what can be known before anything is drained. Unless it fails, the caller closes
// the replacement.
func (x *replacement) check(ctx context.Context) error {
	p, r, c := x.process, x.r, x.c
	if err := p.awaitSettled(ctx, r, c, x.lastLook); err != nil {
		return err
	}
	prepared, err := p.prepare(r, x.rules, c)
	if err != nil {
		return err
	}
	x.prepared = prepared
	if err := x.checkTrial(); err != nil {
		x.close()
		return err
	}
	if r.Verify != nil {
		x.lease = candidate.NewLease(p.files, c)
		x.lastLook = func() error { return asError(x.lease.Unchanged(x.rules)) }
		x.o.saw(EventVerifying, c)
		if err := r.callVerify(ctx, c.Path, prepared.file(c), x.lastLook); err != nil {
			x.close()
			return err
		}
	}
	x.times = RestartTimes{Seen: c.Seen, Judged: time.Now()}
	p.image().Store.SetReceiverKnows(prepared.receiversKnow(c))
	return nil
}

// announce logs the restart early, so that the line is written meanwhile.
func (x *replacement) announce() {
	if x.r.Logger != nil {
		from, to := names(buildInfo(x.rules.Running.Build()), buildInfo(x.c.Build))
		report.To(x.r.Logger).Info("restarting", "path", x.c.Path, "from", from, "to", to)
	}
}

// lookInterval is the time between two looks at the file of a version that waits.
const lookInterval = time.Second

// awaitRoom is await that ends when there is another file: a newer version may not have to wait.
func (x *replacement) awaitRoom(ctx context.Context, await func(ctx context.Context, fewer int) error, fewer int) error {
	for {
		limited, cancel := context.WithTimeout(ctx, lookInterval)
		err := await(limited, fewer)
		cancel()
		if ctx.Err() != nil {
			return errEnded
		}
		if lookErr := x.lastLook(); err == nil || lookErr != nil {
			return lookErr
		}
	}
}

// intact returns nil if the file of the candidate is as it was judged, wherever the path leads by
// now.
func (x *replacement) intact() error {
	if x.lease != nil && x.lease.GaveWay() {
		return asError(candidate.AboutToBeWritten(x.c.Path))
	}
	return asError(x.rules.Intact(x.c))
}

// close undoes check.
func (x *replacement) close() {
	if x.lease != nil {
		x.lease.End()
		x.lease, x.lastLook = nil, x.unchanged
	}
	if x.prepared != nil {
		x.prepared.close()
		x.prepared = nil
	}
}

// replaceImage executes c for r, which the rules accept, or one of the versions that come while the
// program is drained for c; newer is nil if none is looked for. It returns only if that failed.
func (p *process) replaceImage(ctx context.Context, r *Restarter, rules *candidate.Rules, c *candidate.Candidate, parts parts, newer *versions) (err error) {
	x, err := p.newReplacement(r, rules, c, parts)
	if err != nil {
		return err
	}
	o, overlap, gate := parts.o, parts.overlap, parts.gate
	select {
	case p.restarting <- struct{}{}:
		defer func() {
			p.image().Restarts.Store(false)
			<-p.restarting
		}()
	case <-ctx.Done():
		return errEnded
	}
	if err := p.image().Drainers.Ending(); err != nil {
		return err
	}
	if err := x.check(ctx); err != nil {
		return err
	}
	defer func() { x.close() }()
	if err := gate.acquire(ctx, x, newer); err != nil {
		return err
	}
	whole := ctx
	defer func() { gate.end(whole, err) }()
	x.announce()
	if ctx, err = overlap.begin(ctx, x); err != nil {
		return err
	}
	defer func() { err = overlap.end(err) }()
	var drained drain.Drained
	var limit time.Duration
	times := x.times
	x, err = overlap.whileDraining(ctx, x, newer, func() (err error) {
		drained, limit, err = p.drain(ctx, r, &times, o)
		return err
	})
	if drained != nil {
		defer overlap.resume(drained)
	}
	if err != nil {
		return err
	}
	if err := gate.confirm(ctx, x); err != nil {
		return drainedFor(err)
	}
	x.times.Quiesced, x.times.Drained = times.Quiesced, times.Drained
	if r.BeforeExec != nil {
		if err := p.image().Drainers.Ending(); err != nil {
			return err
		}
		if err := x.beforeExec(ctx, x, false); err != nil {
			return drainedFor(err)
		}
		if drained == (nothingToDrain{}) { // by now there may be something
			if drained, limit, err = p.drain(ctx, r, &x.times, o); err != nil {
				return err
			}
			defer overlap.resume(drained)
		}
	}
	if err := drained.Seal(); err != nil {
		return err
	}
	o.draining(EventRestarting, &x.times, drained.Unfinished())
	x.prepared.observed = o.handedOver()
	if err := overlap.ping(); err != nil {
		return drainedFor(err)
	}
	err = x.execRetrying(ctx, limit)
	if drained == (nothingToDrain{}) && r.BeforeExec == nil {
		return err
	}
	return drainedFor(err)
}

// verifyTimeout is the time that Verify has.
const verifyTimeout = time.Minute

// callVerify asks Verify, and whether the file is the same after it: a file that can't be
// executed any more is not worth draining for.
func (r *Restarter) callVerify(ctx context.Context, path string, exe *os.File, lastLook func() error) error {
	err := callHook(ctx, &r.verify, "Verify", verifyTimeout, func(ctx context.Context) error {
		return r.Verify(ctx, exe)
	})
	if err != nil {
		if err == errEnded {
			return err
		}
		return verifyError(path, err)
	}
	return lastLook()
}

// callHook calls a function of the program's, which has the given time. It does not wait for
// one that ignores the end of its context.
func callHook(ctx context.Context, hook *drain.Hook, name string, timeout time.Duration, f func(context.Context) error) error {
	err := hook.CallWithin(ctx, timeout, f)
	switch panicked, _ := err.(*drain.PanicError); {
	case panicked != nil:
		return errors.New("autorestart: " + name + " panicked: " + panicked.Text)
	case err != drain.ErrStuck:
		return err
	case ctx.Err() != nil:
		return errEnded
	default:
		return errors.New("autorestart: " + name + " has not returned within " + timeout.String())
	}
}

const (
	// execRetryLimit is how long an exec that fails for a passing reason is tried again
	// before the candidate is judged anew.
	execRetryLimit = 2 * time.Second

	// drainedRetryLimit is the same while clients wait.
	drainedRetryLimit = 50 * time.Millisecond
)

// execRetrying executes the candidate. It tries again for the given time if the exec fails for a
// passing reason, and returns only if the last attempt failed.
func (x *replacement) execRetrying(ctx context.Context, limit time.Duration) error {
	retry := watch.NewRetry()
	for start := time.Now(); ; {
		// The steps before may have taken long.
		if ctx.Err() != nil {
			return errEnded
		}
		if err := x.process.image().Drainers.Ending(); err != nil { // it may have had no drainers, or wait for the next attempt
			return err
		}
		if err := x.lastLook(); err != nil {
			return err
		}
		err := x.process.exec(x)
		if !execTransient(err) {
			return err
		}
		if time.Since(start) >= limit {
			return &RejectedError{
				Path:      x.c.Path,
				Found:     "a file that can't be executed now (" + candidate.Cause(err).Error() + ")",
				Expected:  "an exec that succeeds",
				Retryable: true,
				Err:       err,
			}
		}
		if watch.Sleep(ctx, retry.Next()) != nil {
			return &endedError{err}
		}
	}
}
