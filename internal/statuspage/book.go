package statuspage

import (
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/autorestart-go/autorestart/internal/step"
)

// A Start says how a version of a daemon has started.
type Start struct {
	PID        int
	Generation int
	Version    string
	RolledBack error // why a newer version was rolled back; nil unless this version runs again after that

	File       string    // as Status.File
	FailedFile string    // of the version that was rolled back
	Started    time.Time // as Status.Started

	// OnTrial reports whether this version may still be rolled back. If nil, it never is.
	OnTrial func() bool
}

// A book is a record, and what is known besides in this version. It decides which requests are
// taken and when they have an outcome:
//   - A request is taken when no restart is under way. Then it begins one.
//   - A restart that is under way also answers the requests that arrive before its exec: the exec checks
//     that the file at the path is the one that it executes. This does not hold if a stand-in has
//     started with that file earlier.
//   - A request that was taken by an earlier version was executed. Its outcome is that of this
//     version, also if another exec has followed: a rollback goes back to a version that works.
type book struct {
	record
	restarted bool     // into this version, which has not been rolled back to
	ready     bool     // Ready was called
	overlaps  bool     // a stand-in was started in the restart that is under way
	joined    []string // requests that only the exec of that restart answers
}

// begin returns the book of a version, which continues the record of the previous one.
func begin(previous record, s Start, now time.Time) *book {
	b := &book{record: previous, restarted: s.Generation > 0 && s.RolledBack == nil}
	b.PID, b.Generation, b.Version = s.PID, s.Generation, clean(s.Version, maxVersion)
	b.File, b.Started, b.Path, b.Watch, b.Serves = s.File, s.Started, "", "", false
	b.Trial = s.OnTrial != nil && s.OnTrial()
	b.Phase, b.Since = Starting, now
	if s.RolledBack != nil {
		o := b.outcome(RolledBack, s.RolledBack.Error(), now)
		o.File = s.FailedFile
		b.answerExecuted(o)
	}
	return b
}

// step takes a step of a restart into account.
func (b *book) step(kind step.Kind, err error, trial bool, arrived []string, now time.Time) {
	b.keep(arrived)
	switch kind {
	case step.StandInStarted:
		b.overlaps = true
	case step.Verifying:
		b.enter(Verifying, now)
	case step.Waiting:
		b.enter(Waiting, now)
	case step.Draining:
		b.enter(Draining, now)
	case step.Restarting:
		b.enter(Restarting, now)
		if !b.overlaps {
			b.joined = b.add(arrived)
		}
	case step.Rejected:
		b.stay(now)
		if err != nil {
			b.Last = b.rejection(err, now)
		}
	case step.Ready:
		b.ready, b.Trial = true, trial
		b.enter(Serving, now)
		if b.restarted && !trial {
			b.answerExecuted(b.outcome(Ready, "", now))
		}
	case step.Healthy:
		b.Trial = false
		if b.restarted {
			b.answerExecuted(b.outcome(Healthy, "", now))
		}
	}
}

// enter begins a phase, unless it has begun.
func (b *book) enter(phase Phase, now time.Time) {
	if b.Phase != phase {
		b.Phase, b.Since = phase, now
	}
}

// stay says that there is no exec: this version goes on. The requests that only the exec would have
// answered are taken again.
func (b *book) stay(now time.Time) {
	b.overlaps = false
	b.requests = slices.DeleteFunc(b.requests, func(e entry) bool { return slices.Contains(b.joined, e.id) })
	b.joined = nil
	if b.ready {
		b.enter(Serving, now)
	} else {
		b.enter(Starting, now)
	}
}

// keep drops the entries of requests that are not in the page any more.
func (b *book) keep(arrived []string) {
	b.requests = slices.DeleteFunc(b.requests, func(e entry) bool { return !slices.Contains(arrived, e.id) })
}

// take takes the requests that have arrived, unless a restart is under way, and returns them.
func (b *book) take(arrived []string) []string {
	if b.Phase == Draining || b.Phase == Restarting {
		return nil
	}
	return b.add(arrived)
}

// add adds entries for the requests that have none, and returns these requests.
func (b *book) add(arrived []string) (added []string) {
	for _, id := range arrived {
		if !slices.ContainsFunc(b.requests, func(e entry) bool { return e.id == id }) {
			b.requests = append(b.requests, entry{id: id, generation: b.Generation})
			added = append(added, id)
		}
	}
	return added
}

// failed says that the restart for these requests has failed, and why.
func (b *book) failed(ids []string, kind OutcomeKind, err error, now time.Time) {
	o := b.outcome(kind, err.Error(), now)
	if o.Kind == b.Last.Kind && o.Reason == b.Last.Reason {
		o.File, o.Retryable = b.Last.File, b.Last.Retryable
	}
	b.Last = o
	for i := range b.requests {
		if e := &b.requests[i]; slices.Contains(ids, e.id) && e.outcome.Kind == "" {
			e.outcome = o
		}
	}
}

// answerExecuted says how the restart has ended that has led to this version.
func (b *book) answerExecuted(o Outcome) {
	b.Last = o
	for i := range b.requests {
		if e := &b.requests[i]; e.generation < b.Generation && e.outcome.Kind == "" {
			e.outcome = o
		}
	}
}

// rejection returns the outcome for a version that was rejected.
func (b *book) rejection(err error, now time.Time) Outcome {
	o := b.outcome(Rejected, err.Error(), now)
	if r, ok := errors.AsType[*step.Rejection](err); ok {
		o.File, o.Retryable = r.File, r.Retryable
	}
	return o
}

// outcome returns an outcome of this version. Ready and Healthy are about the file of this version.
func (b *book) outcome(kind OutcomeKind, reason string, now time.Time) Outcome {
	reason = clean(strings.TrimPrefix(reason, "autorestart: "), maxReason)
	o := Outcome{Kind: kind, Generation: b.Generation, Version: b.Version, Reason: reason, At: now}
	if o.Succeeded() {
		o.File = b.File
	}
	return o
}

// errNoExec is the reason if a restart has returned no error.
var errNoExec = errors.New("nothing was executed")
