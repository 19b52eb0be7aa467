// Package statuspage lets another process read the status of a daemon, ask the daemon for a
// restart, and wait for the outcome.
//
// A status page is a memfd that the daemon keeps open, and that crosses each exec as a passed
// file. The other process opens it by /proc/PID/fd. So there is no path and no port, and the kernel
// lets a process open the page only if it could also trace the daemon: a process of the same user,
// or of root, also from outside of a container. Whoever may open the page may also write it. Neither
// side relies on its content:
//   - The page is sealed against changes of its size, and it is never mapped.
//   - A process that opens a page checks that it is one, before it opens what may be a FIFO or a device.
//   - All texts are cut, and have no control characters.
//
// The daemon has a [Page] and a [Tracker], which keeps the status and executes the requests. The
// other process has a [Reader].
package statuspage

import (
	"errors"
	"time"
)

// A Status describes one version of a daemon.
type Status struct {
	PID        int    // as the daemon sees itself; another one outside of its PID namespace
	Generation int    // number of execs that have led to this version
	Version    string // of the program
	File       string // that this version was executed from, as candidate.ID.Mark formats it; empty if it is not known
	Started    time.Time

	// Path is the file that the program watches, as the program sees it, and Watch is how it notices changes, in
	// words. They are empty until a Restarter runs. Watch is empty in a program that only restarts when it is asked to, and after
	// the end of its Run.
	Path, Watch string

	Serves bool // the program executes the requests of other processes

	Phase Phase
	Since time.Time // when Phase began
	Trial bool      // this version may still be rolled back

	// Last is the outcome of the last restart, or of the last attempt at one. Its Kind is
	// empty if there was none.
	Last Outcome
}

// A Phase says what a version is doing.
type Phase string

// Phases.
const (
	Starting   Phase = "starting"   // not ready yet
	Serving    Phase = "serving"    // ready
	Verifying  Phase = "verifying"  // Verify looks at a new version
	Waiting    Phase = "waiting"    // the Gate has not given leave to restart
	Draining   Phase = "draining"   // waiting for unfinished work before a restart
	Restarting Phase = "restarting" // drained, right before the exec
)

// An Outcome says how a restart has ended.
type Outcome struct {
	Kind       OutcomeKind
	Generation int       // of the version that says so
	Version    string    // of the version that says so
	Reason     string    // empty for a version that works
	At         time.Time // when it was known

	// File is the file that the outcome is about, as Status.File: the version that was rejected, was rolled back, or
	// works. It is empty if that is not known.
	File      string
	Retryable bool // a rejected file is looked at again soon
}

// Succeeded reports whether the new version works.
func (o Outcome) Succeeded() bool { return o.Kind == Ready || o.Kind == Healthy }

// An OutcomeKind is a kind of outcome. A later release may have more.
type OutcomeKind string

// Kinds of outcomes.
const (
	Ready      OutcomeKind = "ready"       // the new version is ready and can't be rolled back
	Healthy    OutcomeKind = "healthy"     // the new version is ready, and its HealthTimeout is over
	Rejected   OutcomeKind = "rejected"    // the new version was not executed
	CalledOff  OutcomeKind = "called off"  // the restart was ended by the daemon, or by the process that has asked for it
	RolledBack OutcomeKind = "rolled back" // the new version was executed and failed
)

// Errors of [Find] and of the methods of a [Reader].
var (
	// ErrNoProcess says that there is no process with the PID.
	ErrNoProcess = errors.New("there is no such process")

	// ErrNoPage says that the process has no status page.
	ErrNoPage = errors.New("the process has no status page")

	// ErrFormat says that the page is of a release with another format.
	ErrFormat = errors.New("the status page has another format")

	// ErrDamaged says that the content of the page is not what a daemon writes.
	ErrDamaged = errors.New("the status page is damaged")

	// ErrEnded says that the process has ended before there was an outcome.
	ErrEnded = errors.New("the process has ended")

	// ErrGone says that the process has executed a version that does not keep the status
	// page, so that there will be no outcome.
	ErrGone = errors.New("the process has executed a version without a status page")

	// ErrNotServed says that the program executes no requests.
	ErrNotServed = errors.New("the process executes no requests")

	// ErrBusy says that as many processes wait for a restart as a page has room for.
	ErrBusy = errors.New("too many processes wait for a restart")
)
