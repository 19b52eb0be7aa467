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

// A Restarter replaces this process's image by a new version of its executable. It calls
// execve(2), which keeps PID, arguments, environment and working directory.
//
// The zero value restarts this program, silently, from the path that the program was
// started by. Set the fields before the first call.
//
// In a restart, the old version is the one that runs and calls Run or Restart. The new
// version is the one that is executed. Each field says whose value counts. For most
// fields it is the old version's value. For Check it is the new version's value. Each
// version has its own Observe and Logger.
type Restarter struct {
	// Path is the executable to watch and to execute. The old version's value counts. A
	// relative Path starts from the working directory at the call of Run or Restart, with
	// symbolic links resolved.
	//
	// If empty, Path is the path that this program was started by. Its symbolic links are
	// kept: a deploy may change one of them. If that path is relative, it starts from
	// PWD, with the symbolic links in it, provided that PWD names the working directory
	// in which the program was started.
	//
	// A program may have more rights than its starter: it is setuid or setgid, or gets
	// capabilities from its file (AT_SECURE in getauxval(3)). Such a program does not
	// trust what the starter has chosen:
	//   - An empty Path is the file that /proc/self/exe names, without symbolic links.
	//     After a restart, it is the path that the previous version has used. On systems
	//     other than Linux it is an error.
	//   - A relative Path is an error. It is an error in later versions of the process,
	//     too, even if the process has given up its rights.
	Path string

	// Verify decides whether a new version is executed. The old version's Verify is
	// called. It gets the file of the new version, ready to be executed and open for
	// reading, and must not close it. If nil, every version that is ready is accepted.
	//
	// An error rejects the version until the file changes. The version is looked at again
	// soon if the error is a [*RejectedError] that is Retryable, or wraps an errno of a
	// shortage, such as EMFILE or ENOMEM. Verify has one minute. A Verify that takes
	// longer, or panics, rejects the version.
	//
	// On Linux with /proc, the file that Verify has accepted is executed by its
	// descriptor. A version that does not contain this library is executed by its path,
	// unless the process has more rights than its user.
	//
	// If the path leads to another file before the exec, or if a process writes into the
	// file, the version is judged and verified again. Every write is noticed if the
	// kernel grants a read lease (F_SETLEASE in fcntl(2)). It does so if the file belongs
	// to this process's user, or the process has CAP_LEASE, and the file system supports
	// leases. Without a lease, a write is missed if it leaves the time of the last change
	// (ctime) as it was. That time has a granularity of milliseconds. Replace files by
	// rename.
	//
	// Some FUSE file systems, such as bindfs and sshfs, show the file at the path as the
	// running image. There Verify gets a copy in memory, and that copy is executed. In
	// the new version /proc/self/exe then leads to no file, and [os.Executable] returns
	// none.
	Verify func(ctx context.Context, exe *os.File) error

	// TrustAnyOwner is as in [Watcher]. The old version's value counts.
	TrustAnyOwner bool

	// Gate is asked for leave before each restart, after Verify and before anything is drained. The old
	// version's Gate is asked, and the program serves until there is leave. The Gate of the version that
	// runs after the restart is told the outcome. If nil, every restart may begin.
	//
	// If a Gate takes longer than one second, Verify is called again when there is leave. A version that
	// is on trial asks for no other version before its trial has ended. The Gate of the first Run or
	// Restart with a Gate is told the outcome of the restart that began this version.
	Gate Gate

	// BeforeExec is called right before the exec of a new version. The old version's
	// BeforeExec is called. It finishes work that must not be cut off. It may change the
	// arguments and the environment of the new version, see [ExecPlan]. If nil, the exec
	// follows at once.
	//
	// BeforeExec is called after everything has been drained, see [RegisterDrainer]. With
	// Overlap it is also called before a stand-in is started, with [ExecPlan.StandIn] set:
	// then nothing is drained, and the old version goes on serving after the call. An
	// error calls the restart off, and the version is left alone until the file changes.
	// After a [*RejectedError] that is Retryable, the version is tried again after one
	// second, then two, up to a minute. BeforeExec has as much time as DrainTimeout, or
	// 10 s if DrainTimeout is zero or negative. A BeforeExec that takes longer, or
	// panics, calls the restart off, too.
	//
	// After BeforeExec has returned nil, the exec hardly ever fails. If it fails, the
	// program goes on running, and the next attempt calls BeforeExec again.
	BeforeExec func(context.Context, *ExecPlan) error

	// DrainTimeout is how long the drainers of the old version may take to finish their
	// work, see [RegisterDrainer]. The old version's value counts. The listeners of
	// package sockets are drainers, too. After DrainTimeout the exec takes place, and
	// cuts off unfinished work. If zero, DrainTimeout is 10 s. If negative, the exec
	// waits for no work.
	DrainTimeout time.Duration

	// ReadyTimeout is how long the new version may take from its start until it calls
	// [Ready]. The old version's value counts. If zero, the new version is never rolled
	// back, unless HealthTimeout or Overlap is set.
	//
	// The old version is executed again if the new version
	//   - is not ready in time
	//   - calls [Rollback]
	//   - panics in main or returns from main before Ready, under [RollbackUnlessReady].
	//
	// ReadyTimeout is rounded down to milliseconds. It needs Linux and /proc. With a
	// ReadyTimeout, a new version that does not contain this library is rejected,
	// unless a packer has removed the sections of the file.
	//
	// The file of the old version has to keep its content. On a FUSE file system a deploy
	// may change that content, so Run first copies the image into memory. Every new
	// version is rejected if that copy can't be made, or if another machine has written
	// the file on a network file system.
	ReadyTimeout time.Duration

	// HealthTimeout is how long the new version stays on trial after it has called
	// [Ready]. The old version's value counts. If zero, Ready ends the trial. If
	// HealthTimeout is set and ReadyTimeout is not, ReadyTimeout is one minute.
	//
	// The old version is executed again if, during this time, the new version
	//   - fails its [Restarter.Check]
	//   - calls [Rollback]
	//   - panics in main, under [RollbackUnlessReady]. A main that returns ends the
	//     program.
	//
	// Until the trial ends, the files that the new version has not claimed stay open,
	// because a rollback hands them back. Clients of an unclaimed listener wait
	// meanwhile, unless the new version listens at the same address.
	//
	// A further version can be deployed during the trial. If it is rolled back, the old
	// version is executed, because the version in between has not shown that it works. If
	// the version in between has set no ReadyTimeout and no HealthTimeout, those of its
	// own trial count for the further version.
	//
	// A new version with a release of this library that is older than HealthTimeout ends
	// its trial at Ready.
	HealthTimeout time.Duration

	// Check says whether the version that has set it works. The new version's Check is
	// called, during the HealthTimeout that the old version has set. The first error
	// rolls the new version back. A Check that tolerates errors has to count them.
	//
	// Check is called right after [Ready], then one second after each return, and a last
	// time when the HealthTimeout is over. The trial ends when the last call has returned
	// nil. Each call has 10 s. A Check that takes longer, or panics, rolls the version
	// back. While the program is drained, Check is not called, and an error of a call
	// under way does not count.
	//
	// The first call of Run or Restart on a Restarter with a Check decides which Check is
	// called. If that call comes after Ready, the checks begin with it. If it comes after
	// the HealthTimeout, or no Restarter has a Check, the trial ends with the
	// HealthTimeout. Until then the version is rolled back only for the other reasons,
	// see HealthTimeout.
	Check func(context.Context) error

	// Overlap starts the new version beside the old one first, as a child process, its
	// stand-in. The old version serves until the stand-in is ready. Then the stand-in serves
	// while the old version is drained, and the new version is executed and starts again. When
	// that is ready, the stand-in is drained and exits. The old version's value counts.
	//
	// If ReadyTimeout is zero, it is one minute. A stand-in that ends, or is not ready in that
	// time, is killed with its process group, and the version is rejected. BeforeExec is
	// called for each of the two starts, see [ExecPlan]. See also [StandIn] and
	// docs/overlap.md, in the repository.
	//
	// Overlap needs Linux 5.3. Elsewhere, and in a process that may have more rights than its
	// starter, Run and Restart return an error that wraps [errors.ErrUnsupported].
	Overlap bool

	// PollInterval is as in [Watcher]. The old version's value counts.
	PollInterval time.Duration

	// Observe receives the steps of restarts and their outcome, see [Event]. The old
	// version's Observe receives the steps up to the exec, and the reasons why a version
	// is not executed. The new version's Observe receives the outcome. If nil, there are
	// no events.
	//
	// If several Restarters have an Observe, the one whose Run or Restart is called first
	// receives the events about this version so far, which begin with [EventStarted] or
	// [EventRolledBack]. The one whose Run or Restart was called last receives the later
	// events about this version, such as [EventReady].
	//
	// Observe is called on a goroutine of its own, with one event after the other. It may
	// call this package. A restart, [Ready] and a rollback don't wait for Observe, even
	// if it blocks or panics.
	//
	// Events and log lines together have at most 10 ms before an exec, and one second
	// before Run or Restart returns. Up to 4,096 events wait. Further events are lost,
	// and so are events that the exec cuts off, see [Event.Lost].
	Observe func(Event)

	// Logger receives restarts, the reasons why a new version is not executed, and what
	// happens to the files that are handed over. Each version logs to its own Logger. If
	// nil, the Restarter is silent.
	Logger Logger

	watcher    atomic.Pointer[watch.Watcher] // of Run
	events     report.Events                 // for Observe
	verify     drain.Hook                    // calls Verify
	beforeExec drain.Hook                    // calls BeforeExec
}

// readyTimeout returns the ReadyTimeout that counts.
func (r *Restarter) readyTimeout() time.Duration {
	if r.ReadyTimeout <= 0 && (r.HealthTimeout > 0 || r.Overlap) {
		return time.Minute
	}
	return r.ReadyTimeout
}

// Mode returns how Run notices changes at the moment. While Run is not running, it
// returns the zero value. Any goroutine may call Mode.
func (r *Restarter) Mode() WatchMode { return watchModeOf(&r.watcher) }

// Run watches the executable and restarts as soon as a new version of it is ready. If a
// restart succeeds, Run does not return: the new version starts from its main. A version
// that can't be executed is logged and left alone until the file changes, see
// [RejectedError]. The program goes on running.
//
// If the previous version has handed files or states to this one, the restart waits until
// this version calls [Ready]. It waits for the ReadyTimeout that the previous version has
// set, or for one minute without one, counted from the start of this version. So each
// version of quick deploys has time to become ready.
//
// If the exec fails after the program was drained, for a reason that may pass, Run tries
// the version again after one second, then two, up to a minute, or when the file changes.
//
// Run returns
//   - when ctx ends, with its cause
//   - when Path is empty and the path of the program is not known
//   - when Path is relative, and the working directory is not known or a starter with
//     fewer rights may have chosen it.
func (r *Restarter) Run(ctx context.Context) error { return r.run(ctx, allFeatures()) }

func (r *Restarter) run(ctx context.Context, f features) error {
	report.SetLogger(r.Logger)
	defer flushLog()
	p := self()
	overlap, err := f.overlap(p, r)
	if err != nil {
		return err
	}
	if p.isStandIn() {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	var o observer
	w, err := p.newWatcher(r.Path, r.PollInterval, r.TrustAnyOwner, r.Logger, func(err error, id candidate.ID) { o.rejected(err, id) })
	if err != nil {
		return err
	}
	p.health.Use(r.Check)
	w.Rules.Failed = p.failedVersion()
	p.logMissing(r)
	o = f.observe(ctx, p, r, w.Path, w.Rules)
	defer o.ends()
	parts := parts{o, overlap, f.gate(p, r), f.beforeExec}
	w.Armed = func(mode watch.Mode) {
		p.logTakeover(w.Logger, mode)
		o.watches(mode)
	}
	v := &versions{watcher: w, observer: o, backoff: newDrainedRetry()}
	r.watcher.Store(w)
	defer func() {
		r.watcher.Store(nil)
		v.closeKept()
		w.Close()
	}()
	for {
		c, err := w.Next(ctx)
		if err != nil {
			return err
		}
		err = p.replaceImage(ctx, r, w.Rules, c, parts, v)
		if _, ended := err.(*endedError); ended {
			o.answered(err)
			return context.Cause(ctx)
		}
		v.answer(err)
	}
}

// Restart executes the file at the path now, also if it is not a new version. Like Run,
// it may first wait until this version is ready. One restart is under way at a time;
// another waits until that has failed. So Verify, BeforeExec and the methods of a Drainer
// must not call Restart. It would wait for its caller, until the time of the caller is
// up.
//
// Restart returns only if the restart failed:
//   - with a [*RejectedError] if the file can't be executed, or was executed and rolled
//     back
//   - with the error of BeforeExec
//   - with [ErrInHandler], at once, if an HTTP handler of a program with drainers calls it
//   - with an [*os.PathError] if execve(2) failed; it wraps [errors.ErrUnsupported] on
//     systems without that call
//   - with an error about the Path, as Run.
//
// If an error may pass by itself, as for a file that is missing for a moment or still
// being written, Restart tries again until ctx ends. It then returns an error that wraps
// the cause of ctx and the last failure.
func (r *Restarter) Restart(ctx context.Context) error {
	if calledByHandler() {
		return ErrInHandler
	}
	err := r.restart(ctx, allFeatures())
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

// restart is Restart, but its error need not tell of the end of ctx.
func (r *Restarter) restart(ctx context.Context, f features) (last error) {
	report.SetLogger(r.Logger)
	defer flushLog()
	p := self()
	overlap, err := f.overlap(p, r)
	switch {
	case err != nil:
		return err
	case p.isStandIn():
		return errStandIn
	}
	path, err := p.executablePath(r.Path)
	if err != nil {
		return err
	}
	rules := p.newRules(path, r.TrustAnyOwner)
	defer rules.Close()
	p.health.Use(r.Check)
	rules.Failed = p.failedVersion()
	o := f.observe(ctx, p, r, path, rules)
	parts := parts{o, overlap, f.gate(p, r), f.beforeExec}
	rejections := watch.RejectionLog{Logger: rejectionLogger{report.To(r.Logger), o.rejected}}
	retry, drainedRetry := watch.NewRetry(), newDrainedRetry()
	for {
		err := p.restartOnce(ctx, r, rules, path, parts)
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

func (p *process) restartOnce(ctx context.Context, r *Restarter, rules *candidate.Rules, path string, parts parts) error {
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
	return p.replaceImage(ctx, r, rules, c, parts, nil)
}
