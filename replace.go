package autorestart

import (
	"context"
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/autorestart-go/autorestart/internal/candidate"
	"github.com/autorestart-go/autorestart/internal/drain"
	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/report"
	"github.com/autorestart-go/autorestart/internal/watch"
)

// The way from an accepted candidate to the exec.

// A replacement is a candidate on its way to the exec.
type replacement struct {
	process  *process
	r        *Restarter
	rules    *candidate.Rules
	c        *candidate.Candidate
	o        observer
	times    RestartTimes
	lastLook func() error // whether the file is as it was judged
	lease    *candidate.Lease
	prepared *prepared
}

// newReplacement begins the way of c, which the rules accept.
func (p *process) newReplacement(r *Restarter, rules *candidate.Rules, c *candidate.Candidate, o observer) (*replacement, error) {
	if err := readBuild(c); err != nil {
		return nil, err
	}
	o.saw(EventSeen, c)
	return &replacement{
		process: p, r: r, rules: rules, c: c, o: o,
		lastLook: func() error { return asError(rules.Unchanged(c)) },
	}, nil
}

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
	if r.Logger != nil { // early, so that the line is written meanwhile
		from, to := names(buildInfo(x.rules.Running.Build()), buildInfo(c.Build))
		report.To(r.Logger).Info("restarting", "path", c.Path, "from", from, "to", to)
	}
	x.times = RestartTimes{Seen: c.Seen, Judged: time.Now()}
	p.image().Store.SetReceiverKnows(prepared.receiversKnow(c))
	return nil
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

func (x *replacement) close() {
	if x.lease != nil {
		x.lease.End()
	}
	x.prepared.close()
}

// replaceImage executes c for r, which the rules accept, or one of the versions that come while the
// program is drained for c; newer is nil if none is looked for. It returns only if that failed.
func (p *process) replaceImage(ctx context.Context, r *Restarter, rules *candidate.Rules, c *candidate.Candidate, o observer, overlap overlapper, newer *versions) (err error) {
	x, err := p.newReplacement(r, rules, c, o)
	if err != nil {
		return err
	}
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
	x.times.Quiesced, x.times.Drained = times.Quiesced, times.Drained
	if r.BeforeExec != nil {
		if err := p.image().Drainers.Ending(); err != nil {
			return err
		}
		if err := x.callBeforeExec(ctx, false); err != nil {
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

// An ExecPlan says how a new version is executed. [Restarter.BeforeExec] may change Args
// and Env. The plan is read after BeforeExec has returned nil.
//
// Changed arguments stay in force: a version that is restarted later passes on the
// arguments that it was started with. A rollback of the new version executes the old
// version with its own arguments and environment. If the new version contains a release
// of this library that is older than ExecPlan, the rollback executes the old version with
// the changed ones.
//
// The restart is called off, with a [*RejectedError] that is not Retryable, if the plan
// has
//   - no arguments
//   - a NUL byte
//   - a variable, added to Env, that is not of the form NAME=value
//   - more than execve(2) takes.
type ExecPlan struct {
	Path     string    // of the new version
	Old, New BuildInfo // of the version that runs, and of the new one
	StandIn  bool      // the new version is started as a stand-in, and the one that serves goes on, see [Restarter.Overlap]

	// Args are all arguments, the name of the program included. At first they are the
	// arguments that the old version was started with.
	Args []string

	// Env is the environment, each variable as NAME=value. At first it is [os.Environ].
	// If several variables have one name, the last one counts.
	//
	// If BeforeExec leaves Env as it is, the new version gets the environment of the old
	// version at the exec. Then [os.Setenv] in BeforeExec has an effect, too.
	Env []string
}

// callBeforeExec calls BeforeExec: while clients wait, or before a stand-in is started.
func (x *replacement) callBeforeExec(ctx context.Context, standIn bool) error {
	r, c, prepared := x.r, x.c, x.prepared
	timeout := r.DrainTimeout
	if timeout <= 0 {
		timeout = defaultDrainTimeout
	}
	env := os.Environ()
	prepared.args, prepared.env = nil, nil
	plan := &ExecPlan{
		Path: c.Path, StandIn: standIn, Old: buildInfo(x.rules.Running.Build()), New: buildInfo(c.Build),
		Args: slices.Clone(prepared.process.launch.args), Env: slices.Clone(env),
	}
	err := callHook(ctx, &r.beforeExec, "BeforeExec", timeout, func(ctx context.Context) error {
		return r.BeforeExec(ctx, plan)
	})
	if err != nil {
		return err
	}
	if !slices.Equal(plan.Args, prepared.process.launch.args) {
		prepared.args = cloneAll(plan.Args)
	}
	if !slices.Equal(plan.Env, env) {
		prepared.env = lastOfEachName(cloneAll(plan.Env))
	}
	return prepared.checkPlan(c.Path, env)
}

// cloneAll copies a list and its strings: those of [os.Args] may be overwritten by a title. The
// copy is not nil.
func cloneAll(list []string) []string {
	clones := make([]string, len(list))
	for i, s := range list {
		clones[i] = strings.Clone(s)
	}
	return clones
}

// lastOfEachName returns the variables without those that have the name of a later one.
func lastOfEachName(env []string) []string {
	seen := map[string]bool{}
	kept := len(env)
	for i := len(env) - 1; i >= 0; i-- {
		name, _, ok := strings.Cut(env[i], "=")
		if ok && seen[name] {
			continue
		}
		seen[name] = seen[name] || ok
		kept--
		env[kept] = env[i]
	}
	return env[kept:]
}

// arguments returns those of the next version.
func (x *prepared) arguments() []string {
	if x.args != nil {
		return x.args
	}
	return x.process.launch.args
}

// environment returns that of the next version.
func (x *prepared) environment() []string {
	if x.env != nil {
		return x.env
	}
	return os.Environ()
}

// checkPlan returns why the arguments and the environment that BeforeExec has left can't be
// those of an exec. before is what the environment was.
func (x *prepared) checkPlan(path string, before []string) error {
	if x.args == nil && x.env == nil {
		return nil
	}
	wrong := func(found, expected string, err error) error {
		return &RejectedError{Path: path, Found: "an ExecPlan with " + found, Expected: "one with " + expected, Err: err}
	}
	if len(x.arguments()) == 0 {
		return wrong("no arguments", "the name of the program, at least", nil)
	}
	for i, arg := range x.args {
		if strings.Contains(arg, "\x00") {
			return wrong("a NUL byte in argument "+strconv.Itoa(i), "text alone", nil)
		}
	}
	for _, variable := range x.env {
		name, _, ok := strings.Cut(variable, "=")
		switch {
		case strings.Contains(variable, "\x00"):
			return wrong("a NUL byte in the variable "+strconv.Quote(name), "text alone", nil)
		case (!ok || name == "") && !slices.Contains(before, variable):
			return wrong("the variable "+strconv.Quote(variable), "variables of the form NAME=value", nil)
		}
	}
	if err := handover.CheckSize(path, x.arguments(), x.environment()); err != nil {
		return wrong("too much for execve(2) ("+err.Error()+")", "shorter arguments and variables", err)
	}
	return nil
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
