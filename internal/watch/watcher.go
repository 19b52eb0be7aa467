// Package watch decides when to look at the path of an executable, and reports the
// candidates there that are new versions and ready. Events only say when to look; what
// counts is the file. The source of events is behind an interface.
package watch

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"github.com/autorestart-go/autorestart/internal/candidate"
)

// Events opens sources of events.
type Events interface {
	// Open returns a source, which the caller closes. The error says why there is none;
	// it wraps [errors.ErrUnsupported] if there never is one.
	Open() (Source, error)
}

// A Source says when to look at a path again.
type Source interface {
	// Arm prepares for the next Wait, and reports whether something may have happened
	// unseen before it. An error says that events don't tell of every change.
	Arm(path string) (missed bool, err error)

	// Wait returns after an event; after d, unless that is zero; or at the end of ctx,
	// with its cause. It reports whether there was an event. The last look saw a file, or none.
	Wait(ctx context.Context, d time.Duration, seen EntryID) (event bool, err error)

	Close() error
}

// A Watcher finds new versions of an executable: files at its path that are ready to
// be executed and differ in content from the version accepted last, or at first from
// the running image. Set the exported fields before the first call.
//
// Next returns a candidate. The caller answers it by one of Accepted, Rejected and
// LookAgain before it calls Next again. The candidate belongs to the watcher and is
// open until then.
type Watcher struct {
	Path         string           // absolute
	PollInterval time.Duration    // between looks beside those after events; 0 for none
	Rules        *candidate.Rules // closed with the watcher
	Events       Events
	Logger       Logger

	// Armed, which may be nil, is called by Next with the mode, after each attempt to get
	// events.
	Armed func(Mode)

	current  *candidate.Candidate // returned by Next, until it is closed
	accepted bool                 // the answer to current
	last     *candidate.Version   // accepted last; nil before

	settled  candidate.ID // the state of a file about which nothing is left to say
	outside  candidate.ID // that of a file rejected for a reason outside of it, or postponed; left alone until recheckAt
	unsteady candidate.ID // the state of a file that is ready once it stays like that
	alike    likeness     // of a file to the base
	log      RejectionLog

	seen      EntryID // by the last look; zero if there was no file
	looked    bool    // an answer to current is the outcome of a look
	withdrawn bool    // current is not what was looked at last
	lookAgain bool    // there may be a new version soon without an event
	retry     Backoff // of the looks without an event
	prewarmed bool

	source  Source    // nil while there is none
	armed   bool      // the next event is after the last look
	rearmAt time.Time // when to try again for events; zero if there is no need or no use
	mode    modeBox

	recheckAt time.Time // when to look again at outside
}

const (
	// rearmInterval is the time for which the watcher polls before it tries again for
	// events.
	rearmInterval = 15 * time.Second

	// recheckInterval is the time after which a file is looked at again that was rejected
	// for a reason outside of it. The owner or mode of a directory changes without an event.
	recheckInterval = 15 * time.Second

	// replaceDelay is the pause before an event source that failed is replaced.
	replaceDelay = 100 * time.Millisecond
)

// Next waits for the next candidate and returns it. A new version that was there
// before the call counts. The only error is the cause of the end of ctx.
func (w *Watcher) Next(ctx context.Context) (*candidate.Candidate, error) {
	w.log.Logger = w.Logger
	w.settleAccepted()
	if !w.looked {
		w.armed, w.retry = false, NewRetry()
	}
	for {
		// The look comes first: when there is a new version, nothing else matters. Arm
		// reports what the look can't have seen.
		if !w.looked {
			if c := w.look(); c != nil {
				w.current = c
				return c, nil
			}
		}
		w.looked = false
		if !w.armed {
			w.armed = true
			if w.arm() {
				continue
			}
		}
		w.prewarm()
		if err := w.pause(ctx); err != nil {
			return nil, err
		}
	}
}

// Accepted answers that the candidate is the version to differ from now.
func (w *Watcher) Accepted() {
	w.log.Clear()
	w.settled = w.current.ID
	w.accepted = true
}

// Rejected answers that the candidate is not executed until its file changes. The
// reason is logged.
func (w *Watcher) Rejected(reason error) {
	w.log.Rejected(reason)
	w.settled = w.current.ID
	w.answer(false)
}

// LookAgain answers that the candidate may be accepted soon as it is. The reason is
// logged if it does not pass.
func (w *Watcher) LookAgain(reason error) {
	w.log.NotReady(reason)
	w.answer(true)
}

// Postpone answers that the candidate may be accepted as it is, but not before d. An
// event ends the delay. The reason is logged if it does not pass.
func (w *Watcher) Postpone(reason error, d time.Duration) {
	w.log.NotReady(reason)
	w.outside, w.recheckAt = w.current.ID, time.Now().Add(d)
	w.answer(false)
}

func (w *Watcher) answer(lookAgain bool) {
	w.closeCurrent()
	w.looked, w.lookAgain = !w.withdrawn, lookAgain
	w.withdrawn = false
}

// Current returns the candidate that Next has returned last, until it is answered or kept.
func (w *Watcher) Current() *candidate.Candidate { return w.current }

// Keep answers like Accepted, and returns the candidate, which the caller owns from now on.
func (w *Watcher) Keep() *candidate.Candidate {
	c := w.current
	w.Accepted()
	w.last = w.Rules.Remember(c)
	w.current, w.accepted = nil, false
	return c
}

// PutBack answers that nothing was found out about the candidate.
func (w *Watcher) PutBack() { w.closeCurrent() }

// Withdraw makes a candidate that was kept the current one again: it was not executed, and the
// running image is what a candidate has to differ from. After the answer, Next looks at the path
// at once. If another file was judged since, the candidate is closed, and Withdraw returns false.
func (w *Watcher) Withdraw(c *candidate.Candidate) (current bool) {
	w.last = nil
	if w.settled != c.ID {
		c.Close()
		return false
	}
	w.current, w.settled, w.withdrawn = c, candidate.ID{}, true
	return true
}

// Base returns the version that a candidate has to differ from: the running image, or
// the candidate that was accepted last.
func (w *Watcher) Base() *candidate.Version {
	if w.last != nil {
		return w.last
	}
	return &w.Rules.Running
}

// Mode tells how changes are noticed at the moment. Any goroutine may call it.
func (w *Watcher) Mode() Mode { return w.mode.get() }

// Close frees what the watcher holds. No call of Next may be running: end its context
// first.
func (w *Watcher) Close() error {
	w.Rules.Close()
	w.closeCurrent()
	if w.source == nil {
		return nil
	}
	err := w.source.Close()
	w.source = nil
	return err
}

func (w *Watcher) closeCurrent() {
	if w.current != nil {
		w.current.Close()
		w.current, w.accepted = nil, false
	}
}

// settleAccepted makes the candidate that was accepted the version to differ from. Its
// file may be written in place later, so its content is summed, now that no caller
// waits for the candidate any more.
func (w *Watcher) settleAccepted() {
	if w.accepted {
		w.accepted = false
		w.last = w.Rules.Remember(w.current)
	}
	w.closeCurrent() // also one without an answer
}

// look looks at the path once. It returns a candidate that is new and ready, if there
// is one.
func (w *Watcher) look() *candidate.Candidate {
	seen := time.Now()
	w.lookAgain = false
	id, err := w.Rules.System.Stat(w.Path)
	w.seen = EntryID{Dev: id.Dev, Ino: id.Ino}
	if err == nil && id == w.outside && seen.Before(w.recheckAt) {
		return nil
	}
	w.outside = candidate.ID{}
	if err == nil && id == w.settled {
		return nil
	}
	if err != nil {
		logged := w.log.NotReady(candidate.Unreadable(w.Path, err))
		// A file that appears is an event. Until there is a line, only looks tell that it
		// stays away.
		w.lookAgain = !logged || !errors.Is(err, fs.ErrNotExist) || !w.mode.get().eventsOnly()
		return nil
	}
	c, rejection := candidate.Open(w.Rules.System, w.Path)
	if rejection == nil {
		id, c.Seen = c.ID, seen
		w.seen = EntryID{Dev: id.Dev, Ino: id.Ino}
		var isNew bool
		if isNew, rejection = w.consider(c); isNew {
			return c
		}
		c.Close()
		if rejection == nil && !w.isSame(id) {
			w.lookAgain = true
			return nil
		}
	}
	w.conclude(id, rejection)
	return nil
}

// conclude notes the outcome of a look at a file in the state id that is no candidate.
// The rejection is nil if the version is the same.
func (w *Watcher) conclude(id candidate.ID, rejection *candidate.Rejection) {
	if rejection != nil {
		rejection.ID = id
	}
	switch {
	case rejection == nil:
		w.log.Clear()
	case rejection.Retryable:
		w.log.NotReady(rejection)
		w.lookAgain = true
		return
	case rejection.Outside:
		w.log.Rejected(rejection)
		w.outside, w.recheckAt = id, time.Now().Add(recheckInterval)
		return
	default:
		w.log.Rejected(rejection)
	}
	w.settled = id
}

// consider reports whether c is a new version that is ready. Without a rejection, a
// version that is not new is the same as the previous one.
func (w *Watcher) consider(c *candidate.Candidate) (isNew bool, _ *candidate.Rejection) {
	w.Rules.ReopenRunning()
	same, err := w.Base().SameContent(c)
	if err != nil {
		return false, candidate.Unreadable(c.Path, err)
	}
	if same {
		return false, nil
	}
	if rejection := w.Rules.Judge(c); rejection != nil {
		return false, rejection
	}
	if c.Kind.ELF == nil && c.ID != w.unsteady {
		w.unsteady = c.ID
		return false, candidate.Unsteady(c.Path)
	}
	if rejection := w.Rules.Unchanged(c); rejection != nil {
		return false, rejection
	}
	return true, nil
}

// prewarm judges the running image while there is time: its build is known then, and
// the code is in memory. When a new version comes, each page of code that is not in
// memory would cost as much as the rest.
func (w *Watcher) prewarm() {
	if w.prewarmed {
		return
	}
	w.prewarmed = true
	if c := w.Rules.Running.AsCandidate(w.Path); c != nil {
		w.Rules.Running.Build()
		w.Rules.Judge(c)
	}
}

// arm asks for events, and reports whether something may have happened that no event
// will tell. It notes in the mode what the answer means for polling.
func (w *Watcher) arm() (missed bool) {
	var err error
	if w.source == nil {
		w.source, err = w.Events.Open()
	}
	if err == nil {
		missed, err = w.source.Arm(w.Path)
	}
	mode := Mode{Events: w.source != nil, Poll: w.PollInterval, Reason: err}
	w.rearmAt = time.Time{}
	if err != nil {
		if mode.Poll == 0 {
			mode.Poll = DefaultPollInterval
		}
		if !errors.Is(err, errors.ErrUnsupported) {
			w.rearmAt = time.Now().Add(rearmInterval)
		}
	}
	w.mode.set(mode, w.Logger, w.Path)
	if w.Armed != nil {
		w.Armed(mode)
	}
	return missed
}
