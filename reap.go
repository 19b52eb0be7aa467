package autorestart

import (
	"context"
	"strconv"
	"syscall"
)

// Reaper ends and waits for the children that this process had before its
// present image was executed. Nobody else would: the image that started them is
// gone, and this one doesn't know of them.
//
// Which children those are was noted while this package was initialised. It
// makes no difference how late a Reaper is run; what this image starts itself
// is never signalled or waited for, and os/exec works as usual. Every inherited
// child has one master: a Reaper takes those that no other Reaper and no
// [ChildProcess] has, and when its context ends it leaves them for the next one.
//
// A Reaper is a set of options, useful as its zero value. It may be copied,
// reused, and run more than once at a time.
type Reaper struct {
	// Escalation is what is done to children that go on living, in turn. After
	// the last step the Reaper goes on waiting. A child that is stopped, or may
	// be where that can't be seen, is continued (SIGCONT) after each signal, or it
	// would not notice.
	// If nil, DefaultEscalation is followed. If empty but not nil, no signal is
	// sent.
	Escalation []EscalationStep

	// Skip reports whether to leave a child alone: not to signal it and not to
	// wait for it. It is called once for each child, before anything else is done,
	// by the goroutine that calls Run. Spared children can still be adopted, or
	// reaped by another Reaper.
	// If nil, no child is spared.
	Skip func(Child) bool

	// Reaped is told of every child that is gone. It is called for one child at a
	// time, in the order in which they were reaped, by a goroutine that does
	// nothing else: it may take its time, or lock what it needs, and children are
	// reaped all the same. Only of what it is more than a hundred thousand reports
	// behind with it is not told; Logger is told how many those were. Run returns
	// after the last call has returned, so Reaped must not wait for that.
	// If nil, nobody is told, and children are reaped faster: their names are not
	// looked up, which takes several times as long as the rest.
	Reaped func(ChildExit)

	// Logger is told of children that are signalled and reaped. Like Reaped it
	// may be slow.
	// If nil, nothing is logged.
	Logger Logger
}

// ChildExit reports a child that is gone.
type ChildExit struct {
	PID      int
	Command  string           // the kernel's name for it, at most 15 bytes; empty if it can't be had
	Code     int              // what it exited with; -1 if a signal ended it, or if Lost
	Signal   syscall.Signal   // the signal that ended it, or 0
	CoreDump bool             // whether that signal left a core dump
	Usage    syscall.Rusage   // what it and the children that it has waited for used
	Sent     []syscall.Signal // what it was sent by us, in that order

	// Lost means that something else in this process has waited for the child,
	// as a wait4(-1) would, and so has its status.
	Lost bool
}

// String describes the end of a child in the words of [os.ProcessState].
func (e ChildExit) String() string {
	switch {
	case e.Lost:
		return "waited for by somebody else"
	case e.Signal == 0:
		return "exit status " + strconv.Itoa(e.Code)
	case e.CoreDump:
		return "signal: " + e.Signal.String() + " (core dumped)"
	default:
		return "signal: " + e.Signal.String()
	}
}

// waitState is the answer to the question whether a child has exited.
type waitState int

const (
	waitRunning waitState = iota
	waitExited
	waitNotOurs // not a child of this process, or not any more
)

// Run takes the inherited children that are free and reaps them until none is
// left, and then returns nil. It returns ctx's error if ctx ends before that; the
// children that are left are then free again. It leaves no goroutine and no
// descriptor behind.
//
// Where children can't be listed, Run returns an error that wraps
// [errors.ErrUnsupported], after it has reaped those that it knows of.
func (r *Reaper) Run(ctx context.Context) error {
	if err := r.reap(ctx, inheritedChildren, r.take(inheritedChildren)); err != nil {
		return err
	}
	return inheritedChildren.err
}

// take takes the children that are not to be spared.
func (r *Reaper) take(h *inheritance) []int {
	pids := h.takeAll()
	if r.Skip == nil || len(pids) == 0 {
		return pids
	}
	var spared, taken []int
	for _, pid := range pids {
		if r.Skip(describe(pid)) {
			spared = append(spared, pid)
		} else {
			taken = append(taken, pid)
		}
	}
	h.giveBack(spared...)
	return taken
}
