// Package reap decides what becomes of the child processes that an exec leaves
// behind: which they are, when they are signalled, when they are waited for, and
// which zombies are orphans.
//
// It sees the system through a [Table] alone. It makes no system call, so its
// decisions can be tested against a simulated kernel.
//
//	Snapshot   the children that this image has inherited, and which of them are free
//	identity   whether a PID still belongs to the child that it was listed for
//	run        one run of a Reaper: waits for children, and signals those that live on
//	orphanRun  one run of the orphan reaper: separates orphans from children
//	Adopted    one inherited child in the hands of the program
package reap

import (
	"os"
	"syscall"
	"time"
)

// Table is the system's table of processes, as this process sees it. Its methods
// return at once and decide nothing. A method that the system has no means for
// returns an error that wraps [errors.ErrUnsupported]; [Unsupported] has all of
// those.
type Table interface {
	Children
	Processes
	Self
}

// Children has the calls that work on children of this process only. An error says
// that the call failed, and nothing about the child.
type Children interface {
	// PeekAny returns a child that has exited and has not been waited for, and
	// Exited. Without one, the state is Running if there are children, and NotOurs
	// if there are none. It returns an error while it can't see all children.
	PeekAny() (pid int, state State, err error)

	// Peek returns the state of the process with this PID, and leaves a zombie
	// where it is.
	Peek(pid int) (State, error)

	// PeekDescriptor returns the PID of the zombie that the open file fd is a pidfd
	// of, and 0 for the pidfd of a child that has not exited. For any other file
	// it returns an error.
	PeekDescriptor(fd int) (pid int, err error)

	// Kin returns what the process is to this one. It returns Child where the system does not
	// tell, and UnknownKin if the call failed.
	Kin(pid int) Kin

	// Wait takes a zombie away and fills in status and usage of e unless that is
	// nil.
	Wait(pid int, e *Exit) (State, error)

	// WaitAny is Wait for any child that has exited. It fills in the PID, too.
	WaitAny(e *Exit) (State, error)

	// Kill sends a signal. It returns [os.ErrProcessDone] if there is no process
	// with this PID.
	Kill(pid int, sig syscall.Signal) error

	// Open returns a pidfd for the process that has this PID now. It returns
	// [os.ErrProcessDone] if there is none.
	Open(pid int) (Pidfd, error)

	// NewPoller returns a Poller without pidfds.
	NewPoller() (Poller, error)

	// NotifyExits returns a channel that receives whenever children have exited,
	// until stop is called.
	NotifyExits() (exits <-chan os.Signal, stop func())
}

// Pidfd is a handle on one process, whatever becomes of its PID. It has one owner,
// which closes it.
type Pidfd interface {
	// FD returns the number of the descriptor.
	FD() int

	// Peek is [Children].Peek.
	Peek() (State, error)

	// Wait is [Children].Wait.
	Wait(e *Exit) (State, error)

	// Signal sends a signal. It returns [os.ErrProcessDone] if the process has been
	// waited for.
	Signal(sig syscall.Signal) error

	// Close closes the descriptor. Only the first call does something.
	Close()
}

// Poller announces which of many processes have exited. It takes one goroutine for all
// of them, and no thread.
type Poller interface {
	// Add has the exit of the process announced as that of pid. The caller keeps
	// the pidfd; to close it ends the announcement.
	Add(p Pidfd, pid int) error

	// Exited returns the channel that receives the PIDs of processes that have
	// exited, once for each. A process that is traced may be announced before it
	// can be waited for. The channel is closed when nothing is announced any more.
	Exited() <-chan []int

	// Err returns why the channel was closed.
	Err() error

	// Close ends the announcements.
	Close()
}

// Processes reads what the system knows of processes.
type Processes interface {
	// OwnNumbers reports whether the methods below count PIDs as this process
	// does. If not, their answers are about other processes.
	OwnNumbers() bool

	// Stat describes a process.
	Stat(pid int) (Stat, error)

	// Args returns the beginning of the command line of a process; none for a zombie.
	// A process can change it to anything.
	Args(pid int) ([]string, error)

	// PIDs lists all processes.
	PIDs() ([]int, error)

	// Threads lists the threads of this process, the oldest first.
	Threads() ([]int, error)

	// ThreadStart is Stat.Start of a thread of this process.
	ThreadStart(tid int) (uint64, error)

	// ChildrenOf lists the children that a thread of this process has made or, for
	// the main thread of a process that has just been executed, all of them. Those
	// that came to the thread first come first. The list may miss entries if a child
	// is waited for meanwhile.
	ChildrenOf(tid int) ([]int, error)

	// FirstChildrenOf is ChildrenOf for the beginning of the list, some hundreds
	// of entries. Of long lists it takes much less time.
	FirstChildrenOf(tid int) ([]int, error)

	// Session returns the session of a process, or of this one if pid is 0. A
	// session outside of this PID namespace is 0.
	Session(pid int) (int, error)

	// Now is the clock by which Stat.Start is counted, 0 if it can't be had.
	Now() uint64

	// Time turns a Stat.Start into a time.
	Time(start uint64) time.Time
}

// Self is what a run has to know of this process and its system.
type Self interface {
	// PID returns the PID of this process.
	PID() int

	// NewestPID returns a PID that has been given out just now.
	NewestPID() (int, error)

	// OpenFilesLimit returns the limits of open files: descriptors are below soft,
	// and could always have been below hard.
	OpenFilesLimit() (soft, hard uint64, err error)

	// DescriptorsEnd returns a number above those of all open files.
	DescriptorsEnd() (int, error)

	// CPUTime returns how much CPU time this thread has used or, where that can't be
	// had, the time.
	CPUTime() time.Duration

	// StartedByPidfd reports whether package os keeps a pidfd for every process
	// that it starts.
	StartedByPidfd() bool

	// Subreaper reports whether this process is a child subreaper.
	Subreaper() (bool, error)

	// SetSubreaper makes this process a child subreaper, or ends that.
	SetSubreaper(on bool) error

	// ContinueSignal returns SIGCONT.
	ContinueSignal() syscall.Signal
}

// State is what a look at a child shows.
type State int

// States of a child.
const (
	Running State = iota // alive, or stopped, or a zombie that a tracer holds, or whose threads live on
	Exited               // a zombie, or one that has just been taken away
	NotOurs              // no child of this process, or not any more
)

// Kin is what a process is to this one.
type Kin int

// Kinds of kin.
const (
	Child  Kin = iota // if it is any
	Cloned            // a child that does not announce its exit by SIGCHLD, as every orphan does
	Traced            // a process that this one traces: a child or not
	UnknownKin
)

// Stat describes a process.
type Stat struct {
	Command string // at most 15 bytes, any but NUL
	State   byte   // of the first thread: R, S, D, or one of those below
	Parent  int
	Session int
	Start   uint64 // ticks of 10 ms after boot, see [Processes].Now
}

// Values of Stat.State.
const (
	Stopped         = 'T' // the process sees no signal before it is continued
	StoppedByTracer = 't' // likewise, if it was stopped before; its tracer may continue it
	Zombie          = 'Z' // the process has exited, or its first thread alone
)

// Process is what is known of a process.
type Process struct {
	PID     int
	Command string    // empty if it can't be had
	Args    []string  // none for a zombie
	Started time.Time // zero if it can't be had
}

// Exit is the end of a child.
type Exit struct {
	PID      int
	Command  string           // empty if it can't be had
	Code     int              // -1 if a signal ended the child, or if Lost
	Signal   syscall.Signal   // the signal that ended it, or 0
	CoreDump bool             // whether that signal left a core dump
	Usage    syscall.Rusage   // of the child and the children that it has waited for
	Sent     []syscall.Signal // the signals that the child was sent, in that order

	// Lost means that another part of this process has waited for the child, and has
	// its status.
	Lost bool
}

// Observer receives the reports of a run. Its methods are called by the goroutine
// of that run, which does nothing else meanwhile.
type Observer interface {
	// Listed is called once for a run that has found living children.
	Listed(living, withoutPidfd int, listedBy string)

	// NotAnnounced is called when exits are not announced by pidfds any more. Each child is
	// then looked at after the exit of any.
	NotAnnounced(err error)

	// Signalled is called after a signal was sent, or could not be.
	Signalled(pid int, sig syscall.Signal, err error)

	// Reaped is called for each child that is gone.
	Reaped(e Exit)
}

// OrphanObserver receives the reports of a run of the orphan reaper.
type OrphanObserver interface {
	// NoPidfds is called if the run can't tell some orphans from children.
	NoPidfds()

	// Reaped is called for each orphan that is gone.
	Reaped(e Exit)

	// Undecided is called, once for each, for zombies that may be orphans and may
	// be children that the program waits for.
	Undecided(p Process)
}
