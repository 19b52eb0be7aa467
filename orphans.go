package autorestart

import (
	"context"

	"github.com/autorestart-go/autorestart/internal/reap"
)

// Orphans waits for orphans: processes that the kernel hands to this process when their
// parents end. Process 1 gets all orphans of its PID namespace. A child subreaper gets
// those of its own descendants. Without Orphans they would stay zombies. Orphans never
// signals a process.
//
// Children that this program may still wait for are left alone, among them all children
// of package os. A program that starts children without a pidfd, as by
// [syscall.ForkExec], should not run Orphans, because Orphans may reap them.
// docs/children.md, in the repository, says how Orphans tells orphans from children, and
// has a table of children in unusual states.
//
// On kernels without pidfds (before Linux 5.4), and in a process that may not use them,
// some orphans can't be told from children. Their zombies are left, and reported by
// Undecided and Logger.
//
// Inherited children (see [Reaper]) are also reaped once they have exited, unless a
// Reaper or a [ChildProcess] has them.
//
// Orphans is a set of options, useful as its zero value.
type Orphans struct {
	// Subreaper makes this process a child subreaper while Run is running, by
	// PR_SET_CHILD_SUBREAPER of prctl(2). Runs that overlap share that role. A process
	// that is a subreaper already, or process 1, keeps its role after Run. If false, the
	// process must be a subreaper or process 1.
	Subreaper bool

	// Reaped is called for every orphan that is gone, as Reaper.Reaped is for children.
	// If nil, orphans are reaped without a report.
	Reaped func(ChildExit)

	// Undecided is called for each zombie that may be an orphan or a child that this
	// program will wait for. It is called once for each zombie, on the same goroutine as
	// Reaped. If nil, these zombies are left without a report.
	Undecided func(Child)

	// Logger receives a line for each orphan that is reaped or left. If nil, nothing is
	// logged.
	Logger Logger
}

// subreaper is this process's role as a child subreaper, which all runs share.
var subreaper reap.Subreaper

// Run reaps orphans until ctx ends, and returns the error of ctx. It leaves no goroutine
// and no descriptor behind. Run returns at once, with an error that wraps
// [errors.ErrUnsupported], if no orphans come to this process: it is neither process 1
// nor a subreaper, or the system has no subreapers.
func (o *Orphans) Run(ctx context.Context) error {
	release, err := subreaper.Acquire(new(childTable), o.Subreaper)
	if err != nil {
		return err
	}
	defer release()
	if o.Reaped == nil && o.Undecided == nil && o.Logger == nil {
		return self().children.ReapOrphans(ctx, nil)
	}
	defer flushLog()
	reports := orphanReports{newChildReports(o.Reaped, o.Logger), o.Undecided}
	defer reports.hooks.Wait()
	return self().children.ReapOrphans(ctx, reports)
}

// orphanReports implements [reap.OrphanObserver].
type orphanReports struct {
	*childReports
	undecided func(Child) // nil if there is none
}

func (r orphanReports) NoPidfds() {
	r.logger.Warn("no pidfds: some orphans will be left as zombies, because they can't be told from children")
}

func (r orphanReports) Undecided(p reap.Process) {
	r.logger.Warn("zombie left: an orphan, or a child that this program will wait for", "pid", p.PID, "command", p.Command)
	if r.undecided != nil {
		r.hooks.Add(func() { r.undecided(Child(p)) })
	}
}
