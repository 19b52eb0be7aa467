package autorestart

import (
	"context"
	"errors"
	"os"
	"sync/atomic"
	"time"

	"github.com/autorestart-go/autorestart/internal/candidate"
	"github.com/autorestart-go/autorestart/internal/drain"
	"github.com/autorestart-go/autorestart/internal/report"
	"github.com/autorestart-go/autorestart/internal/watch"
)

// A Restarter replaces this process's image by a new version of its
// executable: execve(2), so that PID, arguments, environment and working
// directory stay.
//
// The zero value restarts this program from the path that it was started by,
// silently. Set the fields before the first call.
//
// The fields are about the restart that this version makes: its values count, and not those of the
// new version. Check alone is about this version itself.
type Restarter struct {
	// Path is the executable to watch and to execute. If empty, it is the path
	// that this program was started by, with its symbolic links: flipping one
	// deploys. If that path is relative, these are also the links of PWD, where that is the
	// directory that the program was started in. A relative Path starts from the working
	// directory of the call, free of links.
	//
	// A program that may have more rights than its starter (AT_SECURE in getauxval(3))
	// does not believe the starter: if Path is empty, it is the file that /proc/self/exe
	// names, without symbolic links, and a relative Path is an error.
	Path string

	// Verify is called with a new version that is ready, open for reading, and
	// decides whether it is executed. An error rejects the version until the file changes;
	// a [*RejectedError] that is Retryable only for now, and so does an error that wraps an
	// errno of a shortage, as EMFILE or ENOMEM. Verify must not close the file.
	// It has one minute; one that takes longer, or panics, rejects the version.
	// If nil, every version that is ready is accepted.
	//
	// On Linux with /proc, the file that Verify accepts is executed, by its descriptor. If
	// the path leads to another file meanwhile, or if a process writes into the file, the
	// version is judged and verified again. No write remains unnoticed if the kernel grants a
	// read lease (F_SETLEASE in fcntl(2)): the file belongs to this process's user, or the
	// process has CAP_LEASE, and the file system supports leases. Without a lease, a write
	// may remain unnoticed if it does not change the time of the last change (ctime), which
	// has a granularity of milliseconds. Replace files by rename.
	//
	// On a FUSE file system that shows the running image as what is at its path by now, as
	// bindfs and sshfs do, Verify gets a copy in memory, which is executed. Then
	// /proc/self/exe leads to no file, and [os.Executable] returns none.
	Verify func(ctx context.Context, exe *os.File) error

	// TrustAnyOwner is as in [Watcher].
	TrustAnyOwner bool

	// BeforeExec is called when a new version is ready, right before the exec:
	// finish here the work that must not be cut off. It may change the arguments and the
	// environment of the new version, see [ExecPlan]. An error calls the restart off; the
	// version is then left alone until the file changes. If nil, nothing is
	// waited for. BeforeExec has as much time as DrainTimeout gives the drainers, but never
	// less than none: 10 s where that is zero or negative. One that takes longer, or panics, calls
	// the restart off, too.
	//
	// It is called after everything has been drained, see [RegisterDrainer]. After a nil
	// return the exec is all but certain. If the exec fails even so, the program goes
	// on running, and BeforeExec is called again with the next attempt.
	BeforeExec func(context.Context, *ExecPlan) error

	// DrainTimeout is the time that drainers, see [RegisterDrainer], have to finish their
	// work; the listeners of package sockets are such drainers. Then the exec takes
	// place. If zero, it is 10 s; if negative, no work is waited for.
	DrainTimeout time.Duration

	// ReadyTimeout is how long the new version may take from its start until it
	// calls [Ready]. If it doesn't, if it calls [Rollback], or if its main panics or
	// returns under [RollbackUnlessReady], this image is executed again. A version that does not
	// contain this library is then rejected. If ReadyTimeout and HealthTimeout are zero, the new version is
	// never rolled back. It needs Linux and /proc, and is rounded to milliseconds.
	//
	// The file of this image has to keep its content. On a FUSE file system, where a deploy may
	// change it, Run copies the image into memory when it begins. Without that copy, and where
	// another machine has written the file of a network file system, each version is rejected.
	ReadyTimeout time.Duration

	// HealthTimeout is for how long the new version, after it has called [Ready], is still on
	// trial. If its [Restarter.Check] fails, if it calls [Rollback], or if its main panics under
	// [RollbackUnlessReady], this image is executed again. A main that returns ends the program. If
	// zero, Ready ends the trial. If HealthTimeout is set and ReadyTimeout is not, ReadyTimeout is
	// one minute.
	//
	// Until the time is over, everything that this image has passed on and the new version has not
	// claimed stays open, as a rollback hands it back. Clients of an unclaimed listener wait
	// meanwhile, unless the new version listens at the same address. A further version
	// can be deployed meanwhile: a rollback of it executes this image, too, as the one in between
	// has not shown that it works.
	//
	// A new version that contains an older version of this library, from before HealthTimeout, ends
	// its trial at Ready.
	HealthTimeout time.Duration

	// Check says whether this version works, after it has called [Ready]: an error rolls it back
	// while the HealthTimeout lasts that the previous version has set. It is called right after
	// Ready, then one second after each return, and a last time when the HealthTimeout is over.
	// Each call has 10 s; one that takes longer, or panics, rolls this version back. The first
	// error does, too: a Check that tolerates some counts them. While the program is drained, Check
	// is not called, and an error of it does not count.
	//
	// So the HealthTimeout of the previous version counts, and the Check of this one: the first that
	// is given to Run or Restart. Without a Check, a version is rolled back if it calls [Rollback].
	Check func(context.Context) error

	// PollInterval is as in [Watcher].
	PollInterval time.Duration

	// Observe receives the steps of restarts, why a version is not executed, what the restart
	// that began this version has cut off and how it ended, see [Event]. If nil, there are
	// no events. Of several Restarters with an Observe, the one whose Run or Restart is called first
	// gets the event about the start of this version, and the last one that about Ready.
	//
	// Observe is called by a goroutine of its own, with one event after the other. It may
	// call this package. Nothing waits for it: a restart, [Ready] and a rollback take place
	// although Observe blocks, or panics. Events and log lines have together at most 10 ms before
	// an exec, and a second before Run or Restart returns. Up to 4,096 events wait; the others, and those
	// that the exec cuts off, are lost, see [Event.Lost].
	Observe func(Event)

	// Logger receives restarts, why a new version is not executed, and what happens to the
	// files that are handed over. If nil, the Restarter is silent.
	Logger Logger

	watcher    atomic.Pointer[watch.Watcher] // of Run
	events     report.Events                 // for Observe
	verify     drain.Hook                    // calls Verify
	beforeExec drain.Hook                    // calls BeforeExec
}

// readyTimeout returns the ReadyTimeout that counts.
func (r *Restarter) readyTimeout() time.Duration {
	if r.ReadyTimeout <= 0 && r.HealthTimeout > 0 {
		return time.Minute
	}
	return r.ReadyTimeout
}

// Mode tells how Run notices changes at the moment. Any goroutine may call it.
func (r *Restarter) Mode() WatchMode { return watchModeOf(&r.watcher) }

// Run watches the executable and restarts as soon as a new version of it is
// ready. A restart does not return: the new version starts from its main.
//
// If the previous version has handed files or states to this one, the restart waits until
// this one is ready, see [Ready], or its time is up: the ReadyTimeout that it was executed
// with, or else one minute. So quick deploys can't keep the program from ever being ready.
//
// If the exec fails after the program was drained, for a reason that may pass, the version
// is tried again after one second, then two, up to a minute, or when the file changes.
//
// Run returns
//   - when ctx ends, with its cause
//   - when Path is empty and the program's own path can't be told, or when it is
//     relative and the working directory can't.
//
// A version that can't be executed is logged and left alone until the file
// changes; this one goes on running.
func (r *Restarter) Run(ctx context.Context) error { return r.run(ctx, withObserve) }

func (r *Restarter) run(ctx context.Context, observe newObserver) error {
	report.SetLogger(r.Logger)
	defer flushLog()
	p := self()
	var o observer = unobserved{}
	w, err := p.newWatcher(r.Path, r.PollInterval, r.TrustAnyOwner, r.Logger, func(err error) { o.rejected(err) })
	if err != nil {
		return err
	}
	p.health.Use(r.Check)
	if r.readyTimeout() > 0 {
		w.Rules.Failed = p.failedVersion()
	}
	p.logMissing(r)
	o = observe(ctx, p, r, w.Path, w.Rules)
	w.Armed = func(mode watch.Mode) {
		p.logTakeover(w.Logger, mode)
		o.watches(mode)
	}
	r.watcher.Store(w)
	defer func() {
		r.watcher.Store(nil)
		w.Close()
	}()
	var postponed candidate.ID
	backoff := newDrainedRetry()
	for {
		c, err := w.Next(ctx)
		if err != nil {
			return err
		}
		err = p.replaceImage(ctx, r, w.Rules, c, o)
		_, ended := err.(*endedError)
		failed, drained := err.(*drainedError)
		switch {
		case ended:
			o.answered(err)
			return context.Cause(ctx)
		case drained:
			if c.ID != postponed {
				postponed = c.ID
				backoff.Reset()
			}
			w.Postpone(failed.error, backoff.Next())
		case isRetryable(err):
			w.LookAgain(err)
		default:
			w.Rejected(err)
		}
		o.answered(err)
	}
}

// A drainedError is a reason that may pass, for which an exec failed after everything was
// drained, or BeforeExec called. Each attempt costs the clients as much as a restart.
type drainedError struct{ error }

// newDrainedRetry returns the delays between such attempts.
func newDrainedRetry() watch.Backoff { return watch.Backoff{First: time.Second, Last: time.Minute} }

// Restart restarts now, from the file that is at the path, be it a new version
// or the same. It returns only if that failed:
//   - with a [*RejectedError] if the file can't be executed
//   - with the error of BeforeExec
//   - with [ErrInHandler], at once, if an HTTP handler calls it
//   - with an [*os.PathError] if execve(2) failed; it wraps
//     [errors.ErrUnsupported] on systems that have no such call.
//
// An error that may pass by itself, as for a file that is missing for a moment or
// still being written, is followed by another attempt until ctx ends. The error then
// wraps the cause of ctx and the last failure.
func (r *Restarter) Restart(ctx context.Context) error {
	if calledByHandler() {
		return ErrInHandler
	}
	err := r.restart(ctx, withObserve)
	if ctx.Err() == nil {
		return err
	}
	if ended, ok := err.(*endedError); ok {
		err = ended.last
	}
	if err == nil {
		return context.Cause(ctx)
	}
	return errors.Join(context.Cause(ctx), err)
}

// An endedError says that ctx has ended on the way to the exec. Run and Restart return the
// cause in its place, which may be an error that can't be compared.
type endedError struct{ last error } // of the attempt before; nil before the first

func (*endedError) Error() string { return "autorestart: the context has ended" }

var errEnded = error(new(endedError))

// restart is Restart, but that its error need not tell of the end of ctx.
func (r *Restarter) restart(ctx context.Context, observe newObserver) (last error) {
	report.SetLogger(r.Logger)
	defer flushLog()
	p := self()
	path, err := p.executablePath(r.Path)
	if err != nil {
		return err
	}
	rules := p.newRules(path, r.TrustAnyOwner)
	defer rules.Close()
	p.health.Use(r.Check)
	if r.readyTimeout() > 0 {
		rules.Failed = p.failedVersion()
	}
	o := observe(ctx, p, r, path, rules)
	rejections := watch.RejectionLog{Logger: rejectionLogger{report.To(r.Logger), o.rejected}}
	retry, drainedRetry := watch.NewRetry(), newDrainedRetry()
	for {
		err := p.restartOnce(ctx, r, rules, path, o)
		var delay time.Duration
		failed, drained := err.(*drainedError)
		switch {
		case err == errEnded:
			o.answered(err)
			return &endedError{last}
		case drained:
			last, delay = failed.error, drainedRetry.Next()
		case isRetryable(err):
			last, delay = err, retry.Next()
		default:
			o.answered(err)
			return err
		}
		rejections.NotReady(last)
		o.answered(err)
		if watch.Sleep(ctx, delay) != nil {
			return last
		}
	}
}

func (p *process) restartOnce(ctx context.Context, r *Restarter, rules *candidate.Rules, path string, o observer) error {
	seen := time.Now()
	c, rejection := candidate.Open(rules.System, path)
	if rejection != nil {
		return asError(rejection)
	}
	defer c.Close()
	c.Seen = seen
	if rejection := rules.Judge(c); rejection != nil {
		return asError(rejection)
	}
	return p.replaceImage(ctx, r, rules, c, o)
}
