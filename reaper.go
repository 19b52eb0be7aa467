package autorestart

import (
	"context"
	"errors"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/autorestart-go/autorestart/internal/reap"
	"github.com/autorestart-go/autorestart/internal/report"
)

// A Reaper ends and waits for the children that this process had before its present image
// was executed. The image that started them is gone, and this image has no handle on
// them. Without a Reaper they would stay, alive or as zombies.
//
// These children are listed while this package is initialised, so a Reaper can be run at
// any time. Children that this image starts are never signalled or waited for, and
// os/exec works as usual.
//
// Every inherited child has at most one owner. A Reaper takes the children that no other
// Reaper and no [ChildProcess] has. When the context of Run ends, the next Reaper may
// take the children that are left.
//
// A child that is traced, or whose first thread has exited, counts as a living child. If
// the Reaper is not allowed to signal a child, because another user owns it, the Reaper
// goes on waiting for its end. docs/children.md, in the repository, has a table of
// children in such states.
//
// A Reaper is a set of options, useful as its zero value. It may be copied, reused, and
// run more than once at a time.
type Reaper struct {
	// Escalation lists the signals for children that live on. They are sent one after the
	// other. After the last step the Reaper goes on waiting. If nil, DefaultEscalation is
	// used. If empty but not nil, no signal is sent.
	//
	// A stopped child does not act on a signal, so the Reaper continues it (SIGCONT)
	// after each one. A child counts as stopped if its state can't be read.
	Escalation []EscalationStep

	// Skip reports whether to leave a child alone. The Reaper neither signals a skipped
	// child nor waits for it. Another Reaper can still reap it, and Adopt can take it
	// over. Skip is called once for each child, before anything else is done, by the
	// goroutine that calls Run. If nil, no child is skipped.
	Skip func(Child) bool

	// Reaped is called for every child that is gone, in the order in which the children
	// were reaped. The calls don't overlap. They may block: children are reaped
	// meanwhile. Run returns after the last call has returned, so Reaped must not wait
	// for Run.
	//
	// If Reaped is more than a hundred thousand calls behind, further calls are dropped,
	// and their number is logged. If nil, the names of children are not looked up, and
	// reaping takes a fraction of the time.
	Reaped func(ChildExit)

	// Logger receives a line for each child that is signalled or reaped. If nil, nothing
	// is logged.
	Logger Logger
}

// A ChildExit reports a child that is gone.
type ChildExit struct {
	PID      int
	Command  string           // the kernel's name for it, at most 15 bytes; empty if it is not known
	Code     int              // its exit code; -1 if a signal ended it, or if Lost
	Signal   syscall.Signal   // the signal that ended it, or 0
	CoreDump bool             // whether that signal left a core dump
	Usage    syscall.Rusage   // of the child and the children that it has waited for
	Sent     []syscall.Signal // the signals that it was sent, in that order

	// Lost means that another part of this process has waited for the child, as wait4(-1)
	// does. That part has got the status of the child.
	Lost bool
}

// String describes the end of a child in the words of [os.ProcessState].
func (e ChildExit) String() string {
	switch {
	case e.Lost:
		return "waited for by another part of this process"
	case e.Signal == 0:
		return "exit status " + strconv.Itoa(e.Code)
	case e.CoreDump:
		return "signal: " + e.Signal.String() + " (core dumped)"
	default:
		return "signal: " + e.Signal.String()
	}
}

// An EscalationStep is one step of an escalation. Signal is sent to the children that are
// still there. After is the delay since the previous step. For the first step it is the
// delay since the call of Run.
type EscalationStep struct {
	Signal syscall.Signal
	After  time.Duration
}

// DefaultEscalation returns the escalation of a [Reaper] whose Escalation is nil. It does
// not send SIGKILL.
func DefaultEscalation() []EscalationStep {
	return []EscalationStep{
		{syscall.SIGHUP, 5 * time.Second},
		{syscall.SIGINT, 120 * time.Second},
		{syscall.SIGTERM, 60 * time.Second},
	}
}

// Run takes the free inherited children, reaps them until none is left, and returns nil.
// If ctx ends before that, Run returns the error of ctx, and the children that are left
// are free again. Run leaves no goroutine and no descriptor behind.
//
// If the system can't list children, Run reaps the children that are known and returns an
// error that wraps [errors.ErrUnsupported].
func (r *Reaper) Run(ctx context.Context) error {
	children := self().children
	if err := r.reap(ctx, children, r.take(children)); err != nil {
		return err
	}
	return children.Err()
}

// take takes the children that are free and not to be skipped.
func (r *Reaper) take(children *reap.Snapshot) (taken []int) {
	pids := children.TakeAll()
	if r.Skip == nil || len(pids) == 0 {
		return pids
	}
	var skipped []int
	for _, pid := range pids {
		if r.Skip(Child(children.Describe(pid))) {
			skipped = append(skipped, pid)
		} else {
			taken = append(taken, pid)
		}
	}
	children.GiveBack(skipped...)
	return taken
}

// reap reaps children that were taken.
func (r *Reaper) reap(ctx context.Context, children *reap.Snapshot, pids []int) error {
	escalation := r.Escalation
	if escalation == nil {
		escalation = DefaultEscalation()
	}
	steps := make([]reap.Step, len(escalation))
	for i, step := range escalation {
		steps[i] = reap.Step(step)
	}
	if r.Reaped == nil && r.Logger == nil {
		return children.Reap(ctx, pids, steps, nil)
	}
	defer flushLog()
	reports := newChildReports(r.Reaped, r.Logger)
	defer reports.hooks.Wait()
	return children.Reap(ctx, pids, steps, reports)
}

// reapInBackground is what CleanUpChildZombies does.
func (r *Reaper) reapInBackground() {
	children := self().children
	pids := r.take(children)
	err := children.Err()
	if len(pids) == 0 && err == nil {
		return
	}
	go func() {
		if err != nil {
			report.To(r.Logger).Warn("cannot list all inherited children: the others are left alone", "reason", err)
		}
		r.reap(context.Background(), children, pids)
	}()
}

// childReports passes the reports of a run on to hooks and loggers, which may be slow.
type childReports struct {
	hooks  *report.Queue
	reaped func(ChildExit) // nil if there is none
	logger report.Logger
}

// newChildReports returns reports for whose hooks the caller waits.
func newChildReports(reaped func(ChildExit), logger Logger) *childReports {
	return &childReports{report.NewQueue(logger), reaped, report.To(logger)}
}

// Listed implements [reap.Observer].
func (r *childReports) Listed(living, withoutPidfd int, listedBy string) {
	r.logger.Info("inherited children listed", "living", living, "without_pidfd", withoutPidfd, "listed_by", listedBy)
}

// NotAnnounced implements [reap.Observer].
func (r *childReports) NotAnnounced(err error) {
	r.logger.Warn("exits of children are not announced any more: each child is looked at after SIGCHLD", "reason", err)
}

// Signalled implements [reap.Observer].
func (r *childReports) Signalled(pid int, sig syscall.Signal, err error) {
	if err != nil {
		r.logger.Warn("cannot signal child", "pid", pid, "signal", sig.String(), "reason", err)
	} else {
		r.logger.Info("signal sent to child", "pid", pid, "signal", sig.String())
	}
}

// Reaped implements [reap.Observer] and [reap.OrphanObserver].
func (r *childReports) Reaped(e reap.Exit) {
	exit := ChildExit(e)
	r.logger.Info("child reaped", "pid", exit.PID, "command", exit.Command, "status", exit.String())
	if r.reaped != nil {
		r.hooks.Add(func() { r.reaped(exit) })
	}
}

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

// A Child is a child that this process had before its present image was executed, or an
// orphan, see [Orphans].
type Child struct {
	PID     int
	Command string    // the kernel's name for it, at most 15 bytes; empty if it is not known
	Args    []string  // the first 32 KiB of its command line, at most 4,096 arguments; none for a zombie
	Started time.Time // with a resolution of 10 ms; zero if it is not known
}

// ErrNotInherited is returned by [Adopt] if no inherited child has the PID, or if a
// [Reaper] or a [ChildProcess] has that child.
var ErrNotInherited = errors.New("autorestart: no inherited child has this PID, or a Reaper or a ChildProcess has the child")

// InheritedChildren lists the free children: those that this process had before its
// present image was executed, and that neither a [Reaper] nor a [ChildProcess] has. Some
// of them may be zombies.
//
// If the error is not nil, some children may be missing from the list.
func InheritedChildren() ([]Child, error) {
	var children []Child
	inherited := self().children
	for _, pid := range inherited.Free() {
		children = append(children, Child(inherited.Describe(pid)))
	}
	return children, inherited.Err()
}

// A ChildProcess is a handle on an inherited child, for a program that keeps the children
// of its earlier image. Like [os.Process] it uses a pidfd, if the kernel has pidfds. A
// Reaper does not touch an adopted child.
//
// The methods may be called by several goroutines at once.
type ChildProcess struct{ adopted *reap.Adopted }

// Adopt takes over an inherited child. The caller must call [ChildProcess.Release], or
// call [ChildProcess.Wait] until it returns a ChildExit.
func Adopt(pid int) (*ChildProcess, error) {
	adopted, ok := self().children.Adopt(pid)
	if !ok {
		return nil, ErrNotInherited
	}
	return &ChildProcess{adopted}, nil
}

// PID returns the PID of the child.
func (c *ChildProcess) PID() int { return c.adopted.PID() }

// Signal sends a signal to the child. The signal must be a [syscall.Signal]. Signal
// returns [os.ErrProcessDone] if the child has exited and was waited for, and
// [os.ErrClosed] after Release.
func (c *ChildProcess) Signal(sig os.Signal) error {
	s, ok := sig.(syscall.Signal)
	if !ok {
		return os.NewSyscallError("kill", errors.ErrUnsupported)
	}
	return c.adopted.Signal(s)
}

// Wait waits until the child has exited and returns its exit. Further calls return the
// same exit. If ctx ends first, Wait returns the error of ctx. After Release it returns
// [os.ErrClosed].
func (c *ChildProcess) Wait(ctx context.Context) (ChildExit, error) {
	e, err := c.adopted.Wait(ctx)
	return ChildExit(e), err
}

// Release gives up the handle without waiting. Another Adopt or a Reaper may then take
// the child. A call of Wait that is under way returns.
func (c *ChildProcess) Release() error { return c.adopted.Release() }
