package rollout

import (
	"strconv"
	"time"

	"github.com/autorestart-go/autorestart/internal/statuspage"
)

// A State says what has become of the deploy in one process.
type State string

// States.
const (
	Waiting    State = "waiting"     // there is no outcome yet
	Ready      State = "ready"       // the process runs the new file, and can't be rolled back any more
	Unchanged  State = "unchanged"   // the process runs the same content already
	RolledBack State = "rolled back" // the new file was executed and failed
	Rejected   State = "rejected"    // the process does not execute the new file
	Replaced   State = "replaced"    // another file was deployed over the new one before the process had executed it
	Ended      State = "ended"       // the process has ended
	Unknown    State = "unknown"     // there is no way to find out
)

// Failed reports whether the process did not take the new version.
func (s State) Failed() bool {
	return s == RolledBack || s == Rejected || s == Replaced || s == Ended
}

// A verdict is a state with a text that says more, without the PID.
type verdict struct {
	state State
	text  string
}

// An observation is what is known of a process at one moment.
type observation struct {
	ended     bool
	forbidden bool // only the arguments of the process are known
	library   bool // the program may contain package autorestart
	same      bool // the process runs the same content as the new file has, now and not only before the deploy

	mark   string            // of the new file
	placed bool              // the new file is still in its place
	execs  bool              // the process has executed the new file
	waited time.Duration     // since it was seen to have executed it
	page   bool              // there is a status
	before statuspage.Status // before the new file was put in place; zero without a page then
	now    statuspage.Status
}

// pageWait is how long a process that has executed the new file may take until it has a status page.
const pageWait = 2 * time.Second

// judge decides what has become of the deploy. It looks at the file that an outcome is about: the last outcome may be
// that of another deploy.
func judge(o observation) verdict {
	switch {
	case o.ended:
		return verdict{Ended, "the process has ended while it was " + o.doing()}
	case o.forbidden:
		return verdict{Unknown, "a process of another user, whose status can't be read; deploy as root"}
	case o.same && o.executesAnother():
		return verdict{Waiting, o.doing()}
	case o.same:
		return verdict{Unchanged, "already runs this version"}
	case !o.page:
		return o.judgeWithoutPage()
	case o.now.File == o.mark:
		return o.judgeNew()
	case o.now.Last.File == o.mark && o.now.Last.Kind == statuspage.RolledBack, o.now.Last.File == o.mark && o.hasComeBack():
		return verdict{RolledBack, "rolled back: " + o.now.Last.Reason}
	case o.execs:
		return verdict{Waiting, "starts the new version"}
	case o.now.Last.File == o.mark && o.now.Last.Kind == statuspage.Rejected && !o.now.Last.Retryable:
		return verdict{Rejected, "rejected: " + o.now.Last.Reason}
	case o.now.Phase == statuspage.Restarting:
		return verdict{Waiting, "executes the new version"}
	case !o.placed:
		return verdict{Replaced, "another deploy has replaced the file"}
	case o.now.Last.File == o.mark && o.now.Last.Kind == statuspage.Rejected:
		return verdict{Waiting, "does not accept the version yet: " + o.now.Last.Reason}
	}
	return verdict{Waiting, o.doing()}
}

// executesAnother reports whether the process may be on the way to a version that was deployed before.
func (o *observation) executesAnother() bool {
	return o.page && (o.now.Phase == statuspage.Waiting || o.now.Phase == statuspage.Draining || o.now.Phase == statuspage.Restarting)
}

// hasComeBack reports whether two execs have led to the version that ran before: a rollback. A later outcome may say
// that the failed version is not executed again.
func (o *observation) hasComeBack() bool {
	return o.now.File == o.before.File && o.now.Generation >= o.before.Generation+2
}

func (o *observation) judgeWithoutPage() verdict {
	switch {
	case o.execs && o.waited < pageWait:
		return verdict{Waiting, "starts the new version"}
	case o.execs:
		return verdict{Unknown, "executes the new version; it has no status page, so that it is not known whether it is ready"}
	case !o.library:
		return verdict{Unknown, "runs the previous version, and does not contain package autorestart: restart it"}
	case !o.placed:
		return verdict{Replaced, "another deploy has replaced the file"}
	}
	return verdict{Waiting, "runs the previous version, and has no status page"}
}

func (o *observation) judgeNew() verdict {
	switch {
	case o.now.Phase == statuspage.Starting:
		return verdict{Waiting, "starts the new version"}
	case o.now.Trial:
		return verdict{Waiting, "is ready and on trial"}
	}
	name := o.now.Version
	if name == "" {
		name = "the new version"
	}
	return verdict{Ready, name + " is ready (generation " + strconv.Itoa(o.now.Generation) + ")"}
}

// doing says what the process is doing.
func (o *observation) doing() string {
	if !o.page {
		if o.execs {
			return "starting the new version"
		}
		return "running the previous version"
	}
	return Doing(o.now)
}

// Doing says what a process is doing, in words.
func Doing(s statuspage.Status) string {
	switch s.Phase {
	case statuspage.Serving:
		if s.Trial {
			return "serving on trial"
		}
	case statuspage.Waiting:
		return "waiting for its Gate"
	}
	return string(s.Phase)
}
