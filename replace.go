package autorestart

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/autorestart-go/autorestart/internal/candidate"
	"github.com/autorestart-go/autorestart/internal/drain"
	"github.com/autorestart-go/autorestart/internal/passing"
	"github.com/autorestart-go/autorestart/internal/report"
	"github.com/autorestart-go/autorestart/internal/watch"
)

// The way from an accepted candidate to the exec.

// restarting is held from Verify to the exec, so that of two restarts asked for at
// once the second finds out whether the first has failed.
var restarting = make(chan struct{}, 1)

// replaceImage executes c, which the rules accept. It returns only if that failed.
func (r *Restarter) replaceImage(ctx context.Context, rules *candidate.Rules, c *candidate.Candidate) error {
	select {
	case restarting <- struct{}{}:
		defer func() { <-restarting }()
	case <-ctx.Done():
		return errEnded
	}
	lastLook := func() error { return asError(rules.Unchanged(c)) }
	if err := r.awaitSettled(ctx, c, lastLook); err != nil {
		return err
	}
	// What can be found out before Verify, which may take long, and the drain.
	if err := readBuild(c); err != nil {
		return err
	}
	prepared, err := self.prepare(r, rules, c)
	if err != nil {
		return err
	}
	defer prepared.close()
	if r.Verify != nil {
		l := candidate.NewLease(self.files, c)
		defer l.End()
		lastLook = func() error { return asError(l.Unchanged(rules)) }
		if err := r.callVerify(ctx, c.Path, prepared.file(c), lastLook); err != nil {
			return err
		}
	}
	if r.Logger != nil { // early, so that the line is written meanwhile
		from, to := names(buildInfo(rules.Running.Build()), buildInfo(c.Build))
		report.To(r.Logger).Info("restarting", "path", c.Path, "from", from, "to", to)
	}
	times := RestartTimes{Seen: c.Seen, Judged: time.Now()}
	passing.Process.SetReceiverKnows(prepared.receiversKnow(c))
	drained, limit, err := r.drain(ctx, &times)
	if err != nil {
		return err
	}
	defer drained.Resume()
	if r.BeforeExec != nil {
		if err := r.callBeforeExec(ctx); err != nil {
			return err
		}
		if drained == (nothingToDrain{}) { // by now there may be something
			if drained, limit, err = r.drain(ctx, &times); err != nil {
				return err
			}
			defer drained.Resume()
		}
	}
	drained.Seal()
	err = r.execRetrying(ctx, limit, rules, c, &times, lastLook, prepared)
	if isRetryable(err) && (drained != nothingToDrain{} || r.BeforeExec != nil) {
		return &drainedError{err}
	}
	return err
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

// callBeforeExec calls BeforeExec, while clients wait.
func (r *Restarter) callBeforeExec(ctx context.Context) error {
	timeout := r.DrainTimeout
	if timeout <= 0 {
		timeout = defaultDrainTimeout
	}
	return callHook(ctx, &r.beforeExec, "BeforeExec", timeout, r.BeforeExec)
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

// execRetrying executes c. It tries again for the given time if the exec fails for a
// passing reason, and returns only if the last attempt failed.
func (r *Restarter) execRetrying(ctx context.Context, limit time.Duration, rules *candidate.Rules, c *candidate.Candidate, times *RestartTimes, lastLook func() error, prepared *prepared) error {
	retry := watch.NewRetry()
	for start := time.Now(); ; {
		// The steps before may have taken long.
		if ctx.Err() != nil {
			return errEnded
		}
		if err := lastLook(); err != nil {
			return err
		}
		err := self.exec(r, c, times, lastLook, prepared)
		if !execTransient(err) {
			return err
		}
		if time.Since(start) >= limit {
			return &RejectedError{
				Path:      c.Path,
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
