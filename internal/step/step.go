// Package step has the steps of a restart, as the packages of this library report them to each other,
// see OnStep of package image.
package step

// A Kind says what a step is. It is the text of an autorestart.EventKind, except in the steps of a
// rollback. A type of its own would make each program larger.
type Kind = string

// A Rejection is the error of a Rejected that a Restarter reports. It says which file is not executed.
type Rejection struct {
	Err       error  // of the autorestart.Event
	File      string // as candidate.ID.Mark formats it; "" if there is no file
	Retryable bool   // the same file is looked at again soon
}

func (r *Rejection) Error() string { return r.Err.Error() }
func (r *Rejection) Unwrap() error { return r.Err }

// Kinds of steps.
const (
	Seen           = "seen"
	Rejected       = "rejected"
	Verifying      = "verifying"
	Waiting        = "waiting"  // the Gate is asked
	Draining       = "draining" // reported once, as the drain begins
	Restarting     = "restarting"
	Started        = "started"
	Ready          = "ready"
	Healthy        = "healthy"
	RolledBack     = "rolled back"
	ModeChanged    = "mode changed"
	StandInStarted = "stand-in started"
	StandInServes  = "stand-in serves"
)

// Kinds of steps of a rollback. No autorestart.Event is about them.
const (
	RollingBack    = "rolling back"
	RollbackFailed = "rollback failed" // there is no exec after RollingBack
)
