// Package autorestart restarts a daemon in place as soon as a new version of its
// executable is on disk, and cleans up the child processes that this leaves
// behind.
//
//	func main() {
//		go autorestart.RestartOnChange()
//		autorestart.CleanUpChildZombies()
//		...
//	}
//
// A restart is an execve(2): PID, standard streams and resource limits stay, and
// no supervisor needs to know. The arguments are those that the program was
// started with, environment and working directory those that it has by then. What
// the program holds in memory is gone, and so are descriptors that are
// close-on-exec, as all are that Go opens, unless they are handed over.
//
// # What counts as a new version
//
// Events only say when to look. A restart happens when the file that the path
// leads to differs in content from the image that runs, and is ready: a regular
// file, complete by its ELF headers, for this machine, executable, open for
// writing nowhere that can be told. Touching the executable or copying the same
// bytes over it restarts nothing; a file that is half written or broken is never
// executed.
//
// # What is handed over
//
// Packages [github.com/autorestart-go/autorestart/sockets] and
// [github.com/autorestart-go/autorestart/httpserve] keep sockets open and drain
// servers, so that no client notices a restart. [Pass] hands on any other open
// file, [SetState] a few bytes, [RegisterDrainer] brings to rest what else takes on
// work. A new version tells by [Ready] that it has what it needs.
//
// With [Restarter.ReadyTimeout] it is on probation until then: should it fail, the
// version before is executed again, with everything that was handed over.
//
// # Choosing an interface
//
// The seven functions need no set-up; they have the names and signatures of
// github.com/tillberg/autorestart, and log to standard error where that one
// does. [Restarter], [Watcher] and [Reaper] are what they are made of, for
// programs that want a context, errors, a logger of their own or a say in when
// to restart; these are silent unless told otherwise.
//
// # Systems
//
// On Linux changes are noticed by inotify(7) in every directory that the path
// passes through; without inotify, and on other Unix systems, the path is looked
// at once a second. Systems without an exec can watch, not restart.
package autorestart

import (
	"context"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/autorestart-go/autorestart/internal/handover"
)

// RestartOnChange watches this program's executable and executes the new version
// as soon as it is ready: same PID, arguments, environment and working
// directory. It blocks and does not return. What it does is logged to standard
// error.
func RestartOnChange() {
	logger := newStderrLogger()
	r := Restarter{Logger: logger}
	err := r.run(nil, hooks{})
	logger.Error("watching ended", "reason", err)
	blockForever()
}

// NotifyOnChange returns a channel that receives true for each new version of
// this program's executable. They don't pile up: a receiver that is late finds
// one. The program goes on running; call [RestartViaExec] to restart it.
//
// With usePolling the path is looked at once a second beside the events. Where
// events can't be had that is done anyway, and logged to standard error.
func NotifyOnChange(usePolling bool) chan bool {
	logger := newStderrLogger()
	w := &Watcher{Logger: logger}
	if usePolling {
		w.PollInterval = defaultPollInterval
	}
	changes := make(chan bool, 1)
	go func() {
		for {
			if _, err := w.next(nil); err != nil {
				logger.Error("watching ended", "reason", err)
				return
			}
			select {
			case changes <- true:
			default: // one is pending, and tells this receiver the same
			}
		}
	}()
	return changes
}

// RestartViaExec executes the file that is at the path of this program's
// executable, new version or not: same PID, arguments, environment and working
// directory. It does not return. As long as the exec fails the program goes on
// running, the reason is logged to standard error whenever it changes, and the
// exec is tried again.
func RestartViaExec() {
	logger := newStderrLogger()
	r := Restarter{Logger: logger}
	retry := newRetry()
	var refusals refusalLog
	for {
		refusals.final(logger, r.restart(nil, hooks{}))
		time.Sleep(retry.next())
	}
}

// NotifyOnSighup returns a channel that receives SIGHUP. A signal that comes
// while one is waiting to be received is dropped. See [Notify] for what happens
// to it during a restart.
func NotifyOnSighup() chan os.Signal {
	return notifyOn(syscall.SIGHUP)
}

// NotifyOnSigterm is [NotifyOnSighup] for SIGTERM.
func NotifyOnSigterm() chan os.Signal {
	return notifyOn(syscall.SIGTERM)
}

func notifyOn(sig os.Signal) chan os.Signal {
	signals := make(chan os.Signal, 1)
	Notify(signals, sig)
	return signals
}

func newStderrLogger() Logger {
	return &stderrLogger{prefix: "[autorestart] "}
}

// blockForever is not select{}, which the runtime takes for a deadlock in a
// program that has nothing else to do.
func blockForever() {
	for {
		time.Sleep(time.Hour)
	}
}

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
	wayBack    func(*handover.Handover, *candidate) error // adds to what is handed over
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
		h.refuse, h.returnable, h.wayBack = refuseTakenBack, returnable, r.putOnProbation
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
	notices.attach(r.Logger)
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
	notices.attach(r.Logger)
	path, err := executablePath(r.Path)
	if err != nil {
		return err
	}
	rules := newRules(r.TrustAnyOwner)
	defer rules.close()
	logger := orSilent(r.Logger)
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
	seen := now()
	c, err := openRegular(path)
	if err != nil {
		return err
	}
	defer c.close()
	c.times.seen = seen
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

// execMu has one exec at a time: each changes, for its moment, what the whole
// process shares.
var execMu sync.Mutex

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
	t.judged = now()
	t.quiesced, t.drained = t.judged, t.judged
	succession.mu.Lock()
	rest := succession.bringToRest
	succession.mu.Unlock()
	if rest != nil {
		resume, err := rest(done, r.DrainTimeout, t)
		if err != nil {
			return err
		}
		defer resume()
	}
	if h.beforeExec != nil {
		if err := h.beforeExec(); err != nil {
			return err
		}
	}
	patience := execPatience
	if rest != nil {
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
		err := r.exec(c, h)
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

// exec executes c, and hands over what it can take. It returns only if that
// failed.
func (r *Restarter) exec(c *candidate, h hooks) error {
	c.times.executed = now()
	s := &succession
	if c.build.foreign || handover.Elevated() {
		s.mu.Lock()
		loss := s.bequeath != nil
		s.mu.Unlock()
		if loss {
			notices.add("the new version gets no file and no state", "path", c.path)
		}
		return execImage(c, r.ExactFile, nil)
	}
	// Who goes back at this moment waits for drainers, with the probation locked, and
	// these may pass files on. So what asks for that lock comes first.
	estate := newHandover(c)
	var err error
	if h.wayBack != nil {
		err = h.wayBack(estate, c)
	} else if err = estate.KeepWayBack(); err == handover.ErrNoRollback {
		err = nil
	}
	s.mu.Lock()
	if err == nil {
		err = s.addTo(estate)
	}
	if err == nil {
		err = execImage(c, r.ExactFile, estate)
	}
	s.mu.Unlock()
	closeAll(estate.Temporary)
	return err
}
