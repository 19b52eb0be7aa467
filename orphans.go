package autorestart

import "context"

// Orphans waits for the processes that are handed to this one when their parents
// end: all of a PID namespace's if it is process 1 there, those of its own
// descendants if it is a child subreaper. Without that they would stay zombies.
//
// What somebody in this process may still wait for is left alone. A zombie is
// waited for if it is provably not a child that this image has started: because
// it is older than this image, or was born into a session that this process was
// never in, or is in the list of children at a place where only orphans come to
// be and nobody in this process holds a pidfd for it. Package os holds one for
// every os.Process, from birth until Wait or Release, if the kernel can (Linux
// 5.4). What was started in some other way and has no pidfd, as by
// [syscall.ForkExec], is safe only if the kernel lists it with another thread
// than the main one, so that programs that do that had better not run Orphans.
// And a process that was released without Wait may stay a zombie there.
//
// Where the kernel has no pidfds, or this process may not use them, the last of
// those proofs is missing; what can't be decided then is left, and reported by
// Undecided and Logger.
//
// Inherited children (see [Reaper]) are waited for as well once they have
// exited, unless a Reaper or an [ChildProcess] has them. Nothing is ever signalled.
//
// Orphans is a set of options, useful as its zero value.
type Orphans struct {
	// Subreaper makes this process a child subreaper for as long as Run, or another
	// Run with this option, runs, with prctl(2)'s PR_SET_CHILD_SUBREAPER, unless it
	// is one already or is process 1.
	// If false, it must be.
	Subreaper bool

	// Reaped is told of every orphan that is gone, in the way of Reaper.Reaped.
	// If nil, nobody is told.
	Reaped func(ChildExit)

	// Undecided is told, once for each, of zombies that may be orphans and may be
	// children that somebody here will wait for. Which of them it is told of and
	// when is subject to the same rules as for Reaped.
	// If nil, nobody is told.
	Undecided func(Child)

	// Logger is told of what is reaped and of what is left.
	// If nil, nothing is logged.
	Logger Logger
}

// Run reaps orphans until ctx ends, and returns its error. It leaves no goroutine
// and no descriptor behind. Where there are no orphans to be had, because
// this process is neither process 1 nor a subreaper, or because the system knows
// no such thing, it returns an error that wraps [errors.ErrUnsupported] at once.
func (o *Orphans) Run(ctx context.Context) error { return o.run(ctx) }
