package autorestart

import (
	"context"
	"errors"
	"os"
	"sync/atomic"
	"time"

	"github.com/autorestart-go/autorestart/internal/drain"
	"github.com/autorestart-go/autorestart/internal/report"
)

// A Restarter replaces this process's image by a new version of its
// executable: execve(2), so that PID, arguments, environment and working
// directory stay.
//
// The zero value restarts this program from the path that it was started by,
// silently. Set the fields before the first call.
type Restarter struct {
	// Path is the executable to watch and to execute. If empty, it is the path
	// that this program was started by, with its symbolic links: flipping one
	// deploys. If relative, it starts from the working directory of the call.
	Path string

	// Verify is called with a new version that is ready, open for reading, and has
	// the last word on it. What it accepts is what is executed: if the file is
	// changed or replaced meanwhile, everything begins anew. An error refuses the
	// version until the file changes; an [*RejectedError] that is Retryable only for
	// now. Verify must not close the file. If nil, every version that is ready is
	// accepted.
	Verify func(ctx context.Context, exe *os.File) error

	// ExactFile executes the file that was verified by its descriptor, so that
	// nothing can be put in its place between the last look at it and the exec.
	// It needs Linux and /proc.
	ExactFile bool

	// TrustAnyOwner is as in [Watcher].
	TrustAnyOwner bool

	// BeforeExec is called when a new version is ready, right before the exec:
	// finish here what must not be cut off. An error calls the restart off; the
	// version is then left alone until the file changes. If nil, nothing is
	// waited for.
	//
	// It is called when everything is at rest, see [RegisterDrainer]. After a nil
	// return the exec is all but certain. Should it fail even so, the program goes
	// on running, and BeforeExec is called again with the next try.
	BeforeExec func(context.Context) error

	// DrainTimeout is how long what is registered with [RegisterDrainer], as the
	// listeners of package sockets are, may take to finish what it has begun. Then
	// it is cut off. If zero, it is 10 s; if negative, nothing is waited for.
	DrainTimeout time.Duration

	// ReadyTimeout is how long the new version may take from its start until it
	// calls [Ready]. If it doesn't, if it calls [Rollback], or if its main panics or
	// returns under [RollbackUnlessReady], this image is executed again. A version that does not
	// contain this library is then refused. If zero, the new version stays
	// whatever it does. It needs Linux and /proc, and is rounded to milliseconds.
	ReadyTimeout time.Duration

	// PollInterval is as in [Watcher].
	PollInterval time.Duration

	// Logger hears of restarts, why a new version is not executed, and of what is
	// handed over. It must not call this package. If nil, the Restarter is silent.
	Logger Logger

	watcher atomic.Pointer[Watcher] // of Run
}

// Mode tells how Run notices changes at the moment. Any goroutine may call it.
func (r *Restarter) Mode() WatchMode {
	if w := r.watcher.Load(); w != nil {
		return w.Mode()
	}
	return WatchMode{}
}

// hooks are the functions that a Restarter calls on the way to the exec, with
// their context in them. Each may be nil.
type hooks struct {
	refuse     func(*candidate) error // whatever was taken back
	verify     func(*candidate) error
	returnable func(*candidate) error // whether it can be taken back
	beforeExec func() error
}

func (r *Restarter) hooks(ctx context.Context) hooks {
	var h hooks
	if r.Verify != nil {
		h.verify = func(c *candidate) error { return refused(c.path, r.Verify(ctx, c.file)) }
	}
	if r.BeforeExec != nil {
		h.beforeExec = func() error { return r.BeforeExec(ctx) }
	}
	if r.ReadyTimeout > 0 {
		h.refuse, h.returnable = self.rejectRolledBack, checkRollback
	}
	return h
}

// Run watches the executable and restarts as soon as a new version of it is
// ready. A restart does not return: the new version starts from its main. Run
// returns
//   - when ctx ends, with its cause
//   - when Path is empty and the program's own path can't be told, or when it is
//     relative and the working directory can't.
//
// A version that can't be executed is logged and left alone until the file
// changes; this one goes on running.
func (r *Restarter) Run(ctx context.Context) error {
	return causeOf(ctx, r.run(ctx.Done(), r.hooks(ctx)))
}

func (r *Restarter) run(done <-chan struct{}, h hooks) error {
	report.SetLogger(r.Logger)
	w := &Watcher{
		Path:          r.Path,
		PollInterval:  r.PollInterval,
		TrustAnyOwner: r.TrustAnyOwner,
		Logger:        r.Logger,
	}
	w.refuse = h.refuse
	w.accept = func(done <-chan struct{}, c *candidate) error {
		return r.replace(done, h, &w.rules.running, c)
	}
	r.watcher.Store(w)
	defer func() {
		r.watcher.Store(nil)
		w.Close()
	}()
	_, err := w.next(done) // no version is reported: each has been executed, or refused
	return err
}

// Restart restarts now, from the file that is at the path, be it a new version
// or the same. It returns only if that failed:
//   - with an [*RejectedError] if the file can't be executed
//   - with what BeforeExec returned
//   - with an [*os.PathError] if execve(2) failed; it wraps
//     [errors.ErrUnsupported] on systems that have no such call.
//
// What may pass by itself, as a file that is missing for a moment or still
// being written, is tried again until ctx ends. The error then tells both that and
// what it was waiting for.
func (r *Restarter) Restart(ctx context.Context) error {
	err := r.restart(ctx.Done(), r.hooks(ctx))
	switch {
	case ctx.Err() == nil:
		return err
	case err == errDone:
		return context.Cause(ctx)
	default:
		return errors.Join(context.Cause(ctx), err)
	}
}

func (r *Restarter) restart(done <-chan struct{}, h hooks) error {
	report.SetLogger(r.Logger)
	path, err := self.executablePath(r.Path)
	if err != nil {
		return err
	}
	rules := newRules(r.TrustAnyOwner)
	defer rules.close()
	logger := report.OrSilent(r.Logger)
	retry := newRetry()
	var refusals refusalLog
	for {
		err := r.restartOnce(done, h, path, &rules)
		if !isNotYet(err) {
			return err
		}
		refusals.pending(logger, err)
		if sleep(done, retry.next()) != nil {
			return err
		}
	}
}

func (r *Restarter) restartOnce(done <-chan struct{}, h hooks, path string, rules *rules) error {
	seen := time.Now()
	c, err := openRegular(path)
	if err != nil {
		return err
	}
	defer c.close()
	c.times.Seen = seen
	if h.refuse != nil {
		if err := h.refuse(c); err != nil {
			return err
		}
	}
	if err := c.judge(rules); err != nil {
		return err
	}
	return r.replace(done, h, &rules.running, c)
}

// refused makes an error of Verify an *RejectedError.
func refused(path string, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*RejectedError](err); !ok {
		err = &RejectedError{Found: "a file that Verify refuses (" + err.Error() + ")", Expected: "one that it accepts", Err: err}
	}
	return asUnfit(path, err)
}

// execPatience is how long an exec that fails for a passing reason is tried
// again before the candidate is judged anew.
const execPatience = 2 * time.Second

// restingPatience is the same while clients wait.
const restingPatience = 50 * time.Millisecond

// restarting is held from Verify to the exec, so that of two restarts asked for at
// once the second finds out whether the first has failed.
var restarting = make(chan struct{}, 1)

// replace executes c, after the hooks. It returns only if that failed.
func (r *Restarter) replace(done <-chan struct{}, h hooks, running *version, c *candidate) error {
	select {
	case restarting <- struct{}{}:
		defer func() { <-restarting }()
	case <-done:
		return errDone
	}
	if h.verify != nil {
		if err := h.verify(c); err != nil {
			return err
		}
		// What can't be executed any more is not worth draining for.
		if err := c.stillThere(); err != nil {
			return err
		}
	}
	c.build = readBuild(c.file, c.id.size)
	if h.returnable != nil {
		if err := h.returnable(c); err != nil {
			return err
		}
	}
	t := &c.times
	t.Judged = time.Now()
	t.Quiesced, t.Drained = t.Judged, t.Judged
	drainers := drain.Process.Notifier()
	draining := drainers != nil
	if draining {
		d, err := drainers.Begin(context.TODO(), r.drainTimeout())
		if err != nil {
			return errDone
		}
		defer d.Resume()
		t.Quiesced, t.Drained = d.Quiesced, d.Drained
	}
	if h.beforeExec != nil {
		if err := h.beforeExec(); err != nil {
			return err
		}
	}
	patience := execPatience
	if draining {
		patience = restingPatience
	}
	retry := newRetry()
	for start := time.Now(); ; {
		// Whatever came before may have taken long.
		select {
		case <-done:
			return errDone
		default:
		}
		if err := c.stillThere(); err != nil {
			return err
		}
		if r.Logger != nil && retry.current == 0 {
			r.Logger.Info("restarting", "path", c.path, "from", running.build().String(), "to", c.build.String())
		}
		err := r.exec(c)
		// By its descriptor, what is missing is /proc.
		if !execTransient(err) || r.ExactFile && errors.Is(err, os.ErrNotExist) {
			return err
		}
		if time.Since(start) >= patience {
			return asUnfit(c.path, notYet("a file that can't be executed now ("+rootCause(err).Error()+")", "an exec that succeeds", err))
		}
		if err := sleep(done, retry.next()); err != nil {
			return err
		}
	}
}

func (r *Restarter) drainTimeout() time.Duration {
	if r.DrainTimeout == 0 {
		return defaultDrainTimeout
	}
	return r.DrainTimeout
}
