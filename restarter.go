package autorestart

import (
	"context"
	"errors"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/autorestart-go/autorestart/internal/candidate"
	"github.com/autorestart-go/autorestart/internal/drain"
	"github.com/autorestart-go/autorestart/internal/elfimage"
	"github.com/autorestart-go/autorestart/internal/report"
	"github.com/autorestart-go/autorestart/internal/watch"
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
	//
	// A program that may have more rights than its starter (AT_SECURE in getauxval(3))
	// does not believe the starter: if Path is empty, it is the file that /proc/self/exe
	// names, without symbolic links, and a relative Path is an error.
	Path string

	// Verify is called with a new version that is ready, open for reading, and
	// decides whether it is executed. An error rejects the version until the file changes;
	// a [*RejectedError] that is Retryable only for now. Verify must not close the file.
	// If nil, every version that is ready is accepted.
	//
	// On Linux with /proc, the file that Verify accepts is executed, by its descriptor. If
	// the path leads to another file meanwhile, or if a process writes into the file, the
	// version is judged and verified again. No write remains unnoticed if the kernel grants a
	// read lease (F_SETLEASE in fcntl(2)): the file belongs to this process's user, or the
	// process has CAP_LEASE, and the file system supports leases. Without a lease, a write
	// may remain unnoticed if it does not change the time of the last change (ctime), which
	// has a granularity of milliseconds. Replace files by rename.
	Verify func(ctx context.Context, exe *os.File) error

	// TrustAnyOwner is as in [Watcher].
	TrustAnyOwner bool

	// BeforeExec is called when a new version is ready, right before the exec:
	// finish here the work that must not be cut off. An error calls the restart off; the
	// version is then left alone until the file changes. If nil, nothing is
	// waited for.
	//
	// It is called after everything has been drained, see [RegisterDrainer]. After a nil
	// return the exec is all but certain. If the exec fails even so, the program goes
	// on running, and BeforeExec is called again with the next attempt.
	BeforeExec func(context.Context) error

	// DrainTimeout is the time that drainers, see [RegisterDrainer], have to finish their
	// work; the listeners of package sockets are such drainers. Then the exec takes
	// place. If zero, it is 10 s; if negative, nothing is waited for.
	DrainTimeout time.Duration

	// ReadyTimeout is how long the new version may take from its start until it
	// calls [Ready]. If it doesn't, if it calls [Rollback], or if its main panics or
	// returns under [RollbackUnlessReady], this image is executed again. A version that does not
	// contain this library is then rejected. If zero, the new version is
	// never rolled back. It needs Linux and /proc, and is rounded to milliseconds.
	ReadyTimeout time.Duration

	// PollInterval is as in [Watcher].
	PollInterval time.Duration

	// Logger receives restarts, why a new version is not executed, and what happens to the
	// files that are handed over. It must not call this package. If nil, the Restarter
	// is silent.
	Logger Logger

	watcher atomic.Pointer[watch.Watcher] // of Run
}

// Mode tells how Run notices changes at the moment. Any goroutine may call it.
func (r *Restarter) Mode() WatchMode { return watchModeOf(&r.watcher) }

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
	report.SetLogger(r.Logger)
	w, err := self.newWatcher(r.Path, r.PollInterval, r.TrustAnyOwner, r.Logger)
	if err != nil {
		return err
	}
	if r.ReadyTimeout > 0 {
		w.Rules.Failed = self.failedVersion()
	}
	r.watcher.Store(w)
	defer func() {
		r.watcher.Store(nil)
		w.Close()
	}()
	for {
		c, err := w.Next(ctx)
		if err != nil {
			return err
		}
		err = r.replaceImage(ctx, w.Rules, c)
		switch {
		case err == errEnded:
			return context.Cause(ctx)
		case isRetryable(err):
			w.LookAgain(err)
		default:
			w.Rejected(err)
		}
	}
}

// Restart restarts now, from the file that is at the path, be it a new version
// or the same. It returns only if that failed:
//   - with a [*RejectedError] if the file can't be executed
//   - with the error of BeforeExec
//   - with an [*os.PathError] if execve(2) failed; it wraps
//     [errors.ErrUnsupported] on systems that have no such call.
//
// An error that may pass by itself, as for a file that is missing for a moment or
// still being written, is followed by another attempt until ctx ends. The error then
// wraps the cause of ctx and the last failure.
func (r *Restarter) Restart(ctx context.Context) error {
	err := r.restart(ctx)
	switch {
	case ctx.Err() == nil:
		return err
	case err == errEnded:
		return context.Cause(ctx)
	default:
		return errors.Join(context.Cause(ctx), err)
	}
}

// errEnded says that ctx has ended on the way to the exec. Run and Restart return the
// cause in its place, which may be an error that can't be compared.
var errEnded = errors.New("autorestart: the context has ended")

// restart is Restart, but that its error need not tell of the end of ctx.
func (r *Restarter) restart(ctx context.Context) error {
	report.SetLogger(r.Logger)
	path, err := self.executablePath(r.Path)
	if err != nil {
		return err
	}
	rules := self.newRules(path, r.TrustAnyOwner)
	defer rules.Close()
	if r.ReadyTimeout > 0 {
		rules.Failed = self.failedVersion()
	}
	rejections := watch.RejectionLog{Logger: report.OrSilent(r.Logger)}
	retry := watch.NewRetry()
	for {
		err := r.restartOnce(ctx, rules, path)
		if !isRetryable(err) {
			return err
		}
		rejections.NotReady(err)
		if watch.Sleep(ctx, retry.Next()) != nil {
			return err
		}
	}
}

func (r *Restarter) restartOnce(ctx context.Context, rules *candidate.Rules, path string) error {
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
	return r.replaceImage(ctx, rules, c)
}

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
	if r.Verify != nil {
		l := candidate.NewLease(self.files, c)
		defer l.End()
		lastLook = func() error { return asError(l.Unchanged(rules)) }
		if err := r.verify(ctx, c, lastLook); err != nil {
			return err
		}
	}
	c.Build = elfimage.ReadBuild(c.File, c.ID.Size)
	if r.ReadyTimeout > 0 {
		if err := checkRollback(c); err != nil {
			return err
		}
	}
	times := RestartTimes{Seen: c.Seen, Judged: time.Now()}
	resume, drained, err := r.drain(ctx, &times)
	if err != nil {
		return err
	}
	defer resume()
	if r.BeforeExec != nil {
		if err := r.BeforeExec(ctx); err != nil {
			return err
		}
	}
	limit := execRetryLimit
	if drained {
		limit = drainedRetryLimit
	}
	return r.execRetrying(ctx, limit, rules, c, &times, lastLook)
}

// verify asks Verify, and whether the file is the same after it: a file that can't be
// executed any more is not worth draining for.
func (r *Restarter) verify(ctx context.Context, c *candidate.Candidate, lastLook func() error) error {
	if err := r.Verify(ctx, c.File.(*os.File)); err != nil {
		return verifyError(c.Path, err)
	}
	return lastLook()
}

// drain quiesces and drains what is registered for that, if anything is. Unless it
// fails, the caller resumes where there is no exec.
func (r *Restarter) drain(ctx context.Context, times *RestartTimes) (resume func(), drained bool, err error) {
	times.Quiesced, times.Drained = times.Judged, times.Judged
	drainers := drain.Process.Notifier()
	if drainers == nil {
		return func() {}, false, nil
	}
	timeout := r.DrainTimeout
	if timeout == 0 {
		timeout = defaultDrainTimeout
	}
	d, err := drainers.Begin(ctx, timeout)
	if err != nil {
		return nil, false, errEnded
	}
	times.Quiesced, times.Drained = d.Quiesced, d.Drained
	return d.Resume, true, nil
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
func (r *Restarter) execRetrying(ctx context.Context, limit time.Duration, rules *candidate.Rules, c *candidate.Candidate, times *RestartTimes, lastLook func() error) error {
	retry := watch.NewRetry()
	for start, first := time.Now(), true; ; first = false {
		// The steps before may have taken long.
		if ctx.Err() != nil {
			return errEnded
		}
		if err := lastLook(); err != nil {
			return err
		}
		if r.Logger != nil && first {
			from, to := buildInfo(rules.Running.Build()), buildInfo(c.Build)
			r.Logger.Info("restarting", "path", c.Path, "from", from.String(), "to", to.String())
		}
		err := self.exec(r, c, times, lastLook)
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
			return errEnded
		}
	}
}

// execTransient reports whether an exec that failed so may succeed soon, with nothing
// changed: the file is open for writing, memory or processes are short, the file is
// missing for a moment.
func execTransient(err error) bool {
	for _, errno := range [...]syscall.Errno{
		syscall.ETXTBSY, syscall.EAGAIN, syscall.ENOMEM, syscall.ENFILE, syscall.EMFILE, syscall.ENOENT,
	} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}
