package autorestart

import (
	"context"
	"errors"
	"time"

	"github.com/autorestart-go/autorestart/internal/report"
)

// A Watcher reports new versions of an executable: files at its path that are
// ready to be executed and differ in content from the version before, which is
// at first the image that this process runs.
//
// The zero value watches this program's own executable. Set the fields before
// the first call of Next, and call Close when Next is not called any more.
type Watcher struct {
	// Path is the executable to watch. Symbolic links in it are followed anew
	// whenever one changes. If empty, it is the path that this program was
	// started by; if relative, it starts from the working directory of the first
	// call of Next.
	Path string

	// PollInterval is how often the path is looked at beside what events tell.
	// If zero, that is once a second where events can't be had, and otherwise
	// only after events.
	PollInterval time.Duration

	// TrustAnyOwner lifts the rule that a process with more rights than its user
	// (root, setuid, capabilities) takes no new version that belongs to somebody
	// other than root, itself or the owner of the running image, or that others
	// can write who couldn't write the running image.
	TrustAnyOwner bool

	// Logger hears why a file at the path is not executed, and of changes of the
	// mode. If nil, the watcher is silent.
	Logger Logger

	// accept has the last word on a candidate that is ready. It is asked again
	// about one that it refuses with an *RejectedError that is Retryable.
	accept func(done <-chan struct{}, c *candidate) error

	// refuse has the first word on one that differs; nil refuses none.
	refuse func(*candidate) error

	path     string     // absolute; empty before the first call of Next
	rules    rules      // what a candidate is judged by
	base     *version   // what a candidate has to differ from: the running image, or last
	last     version    // the last Change
	reported *candidate // the last Change, until last is made of it; owned
	settled  fileID     // the state of a file about which nothing is left to say
	unsteady fileID     // the state of a file that is ready once it stays like that
	refusals refusalLog

	rehearsed bool

	events events    // nil while there are none
	rearm  time.Time // when to try again for events; zero if there is no need or no use
	mode   modeBox
}

// events tell when to look at a path again.
type events interface {
	// arm prepares for the next wait, and reports whether something may have
	// happened unseen before it. An error says that events don't tell everything.
	arm(path string) (changed bool, err error)

	// wait returns after an event; after d, unless that is zero; or when done is
	// closed, with errDone. It reports whether there was an event.
	wait(done <-chan struct{}, d time.Duration) (event bool, err error)

	// release is not called close because the linker would then keep the methods
	// of that name in the standard library.
	release() error
}

// A Change is a new version of an executable.
type Change struct {
	Path     string    // absolute
	Size     int64     // bytes
	Seen     time.Time // when it was found ready
	Old, New BuildInfo // of the version before, as far as its file is still there, and of this one
}

// rearmInterval is how long polling goes on before events are tried again.
const rearmInterval = 15 * time.Second

// replaceDelay goes by before an event source that failed is replaced.
const replaceDelay = 100 * time.Millisecond

// Next waits for the next new version and returns it. A version that was there
// before the call and has not been reported counts.
//
// It fails
//   - when ctx ends, with its cause
//   - when Path is empty and the program's own path can't be told, or when it is
//     relative and the working directory can't.
//
// Everything else is no reason to give up: without events it polls, see Mode,
// and a file that can't be executed is passed over, see Logger. Next must not
// be called by two goroutines at a time.
func (w *Watcher) Next(ctx context.Context) (Change, error) {
	c, err := w.next(ctx.Done())
	if err != nil {
		return Change{}, causeOf(ctx, err)
	}
	return Change{
		Path: w.path, Size: c.id.size, Seen: time.Now(),
		Old: w.base.build(), New: readBuild(c.file, c.id.size),
	}, nil
}

// next returns the next new version, which the watcher keeps.
func (w *Watcher) next(done <-chan struct{}) (*candidate, error) {
	if err := w.start(); err != nil {
		return nil, err
	}
	w.settleReported()
	retry := newRetry()
	for armed := false; ; {
		c, again, err := w.look(done)
		if err != nil || c != nil {
			w.reported = c
			return c, err
		}
		// The look comes first: when there is a new version, nothing else matters.
		// What it can't have seen, arm reports.
		if !armed {
			if armed = true; w.arm() {
				continue
			}
			w.rehearse()
		}
		delay := w.mode.get().Poll
		if !again {
			retry.reset()
		} else if d := retry.next(); delay == 0 || d < delay {
			delay = d
		}
		event, err := w.wait(done, delay)
		if err != nil {
			return nil, err
		}
		if event {
			retry.reset() // it may be all that was missing, but for a moment
		}
		// What is waited for may be mounted, and no event tells of that: the watches
		// are then on the directory below.
		armed = !event && !again && (w.rearm.IsZero() || time.Now().Before(w.rearm))
	}
}

// Mode tells how changes are noticed at the moment. Any goroutine may call it.
func (w *Watcher) Mode() WatchMode { return w.mode.get() }

// Close frees what the watcher holds. No call of Next may be running: end its
// context first.
func (w *Watcher) Close() error {
	w.rules.close()
	if w.reported != nil {
		w.reported.close()
		w.reported = nil
	}
	if w.events == nil {
		return nil
	}
	err := w.events.release()
	w.events = nil
	return err
}

// start does what is due at the first call.
func (w *Watcher) start() error {
	if w.path != "" {
		return nil
	}
	path, err := self.executablePath(w.Path)
	if err != nil {
		return err
	}
	w.Logger = report.OrSilent(w.Logger)
	w.rules.set(w.TrustAnyOwner)
	w.base = &w.rules.running
	w.path = path
	return nil
}

// settleReported makes the version that was reported last the one to differ
// from. Its file may be written in place later, so its content is summed, now
// that nobody waits for the report any more.
func (w *Watcher) settleReported() {
	c := w.reported
	if c == nil {
		return
	}
	w.reported = nil
	w.last.id = c.id
	w.last.remember(c.file)
	w.base = &w.last
	c.close()
}

// errSameVersion is the one refusal that nobody needs to hear of.
var errSameVersion = errors.New("autorestart: the same version")

// look looks at the path once. It returns a new version if there is one, again if
// there may be one soon with no event to tell, and no error but errDone.
func (w *Watcher) look(done <-chan struct{}) (c *candidate, again bool, err error) {
	seen := time.Now()
	id, err := statPath(w.path)
	if err != nil {
		w.refusals.pending(w.Logger, unreachable(w.path, err))
		return nil, true, nil // whatever comes is an event, unless it is mounted
	}
	if id == w.settled {
		return nil, false, nil
	}
	if c, err = openRegular(w.path); err == nil {
		id, c.times.Seen = c.id, seen
		if err = w.consider(done, c); err != nil {
			c.close()
			c = nil
		}
	}
	switch {
	case err == errDone:
		return nil, false, err
	case isNotYet(err):
		w.refusals.pending(w.Logger, err)
		return nil, true, nil
	case err == nil, err == errSameVersion:
		w.refusals.clear()
	default:
		w.refusals.final(w.Logger, err)
	}
	w.settled = id
	return c, false, nil
}

// consider returns nil if c is a new version that is ready.
func (w *Watcher) consider(done <-chan struct{}, c *candidate) error {
	w.rules.running.reopen()
	same, err := w.base.sameContent(c.file, c.id)
	if err != nil {
		return asUnfit(w.path, err)
	}
	if same {
		return errSameVersion
	}
	if w.refuse != nil {
		if err := w.refuse(c); err != nil {
			return err
		}
	}
	if err := c.judge(&w.rules); err != nil {
		return err
	}
	if c.kind.elf == nil && c.id != w.unsteady {
		w.unsteady = c.id
		return asUnfit(w.path, notYet("a format that does not tell when it is complete", "no change at the next look", nil))
	}
	if err := c.stillThere(); err != nil {
		return err
	}
	if w.accept != nil {
		return w.accept(done, c)
	}
	return nil
}

// rehearse judges the running image, while there is time: what is learnt of it
// needn't be then, and the code is in memory. When it counts, each page of it
// that is not would cost as much as the rest.
func (w *Watcher) rehearse() {
	if w.rehearsed {
		return
	}
	w.rehearsed = true
	if running := &w.rules.running; running.file != nil {
		running.build()
		c := candidate{path: w.path, file: running.file, id: running.id}
		c.judge(&w.rules)
	}
}

// arm asks for events, and reports whether something may have happened that no
// event will tell. What the answer means for polling is in the mode.
func (w *Watcher) arm() (missed bool) {
	var err error
	if w.events == nil {
		w.events, err = newEvents()
	}
	if err == nil {
		missed, err = w.events.arm(w.path)
	}
	mode := WatchMode{Events: w.events != nil, Poll: w.PollInterval, Reason: err}
	w.rearm = time.Time{}
	if err != nil {
		if mode.Poll == 0 {
			mode.Poll = defaultPollInterval
		}
		if !errors.Is(err, errors.ErrUnsupported) {
			w.rearm = time.Now().Add(rearmInterval)
		}
	}
	w.mode.set(mode, w.Logger, w.path)
	return missed
}

func (w *Watcher) wait(done <-chan struct{}, d time.Duration) (event bool, err error) {
	if w.events == nil {
		return false, sleep(done, d)
	}
	event, err = w.events.wait(done, d)
	if err != nil && err != errDone {
		// Somebody closed our descriptor, or Go's poller would not have it. Start
		// again with another, but not in a loop that spins.
		w.events.release()
		w.events = nil
		return true, sleep(done, replaceDelay)
	}
	return event, err
}
