package autorestart

import (
	"cmp"
	"context"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/autorestart-go/autorestart/internal/candidate"
	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/statuspage"
	"github.com/autorestart-go/autorestart/internal/step"
	"github.com/autorestart-go/autorestart/internal/watch"
)

// An Event is a step of a restart, as [Restarter.Observe] receives it. The old version
// reports the steps up to [EventRestarting]. If there is no exec after [EventDraining],
// [EventStandInServes] or EventRestarting, [EventRejected] says why. A stand-in reports
// nothing.
//
// The version that runs after the exec reports the outcome. A new version reports
// [EventStarted], [EventReady] and [EventHealthy]. A version that runs again after a
// rollback reports [EventRolledBack] in place of EventStarted.
//
// A field whose comment names kinds is set in events of those kinds. The other fields are
// set in all events, as far as they are known.
type Event struct {
	Kind       EventKind
	At         time.Time // when it happened; Observe may be called later
	Path       string    // of the executable, absolute
	Generation int       // of the version that reports, see [Generation]

	// Old and New are two versions:
	//   - in EventStarted, EventReady and EventHealthy, the previous version and the one
	//     that runs
	//   - in EventRolledBack, the version that failed and the one that runs again
	//   - in all other events, the version that runs and the one at Path.
	//
	// New is empty if the file is not a Go program.
	Old, New BuildInfo

	// Err is set in two kinds. In EventRejected it says why the version is not executed:
	// it is a [*RejectedError], the error of BeforeExec or of execve(2), or the cause of
	// the end of the context. In EventRolledBack it is a [*RollbackError].
	Err error

	// Unfinished is a list of phrases like "2 connections of tcp 127.0.0.1:8080", see
	// [Drainer]. In EventDraining it is the work that the restart waits for. In
	// EventRestarting it is the work that was not done in time and ends with the exec.
	Unfinished []string

	// In EventDraining and EventRestarting, Times has the times of the restart that is
	// under way. In the events about an outcome it is [LastRestart].
	Times RestartTimes

	Mode WatchMode // in EventModeChanged

	// OnTrial is set in EventReady if the HealthTimeout of the previous version begins: this
	// version can still be rolled back. When it can't any more, EventHealthy says so.
	OnTrial bool

	// Lost is the number of events before this one that Observe has not received, because
	// it was too slow or has panicked. In the first event of a version, Lost also counts
	// the events that the previous version's Observe had not finished at the exec.
	Lost int
}

// An EventKind says what an [Event] is about.
type EventKind int

// Kinds of events.
const (
	EventSeen           EventKind = iota + 1 // a new version is at the path and can be executed, or Restart was called
	EventRejected                            // a version is not executed; reported once for each reason, see [RejectedError.Retryable]
	EventVerifying                           // Verify is called with the version, for the first time
	EventDraining                            // the program is being drained; repeated after 1 s, then less and less often
	EventRestarting                          // everything is drained, and the exec comes next
	EventStarted                             // this version has started: after a restart, or afresh (Generation is 0)
	EventReady                               // Ready was called
	EventHealthy                             // the HealthTimeout of the previous version is over: this version is not rolled back any more
	EventRolledBack                          // this version runs again, because a newer one failed; in place of EventStarted
	EventModeChanged                         // Run has begun to watch, or notices changes in another way than before
	EventStandInStarted                      // with Overlap: the new version has started as a stand-in
	EventStandInServes                       // with Overlap: the stand-in is ready and serves; this version is drained
	EventWaiting                             // the Gate is asked for leave; EventRejected follows unless there is leave
)

var eventKinds = [...]step.Kind{
	"unknown", step.Seen, step.Rejected, step.Verifying, step.Draining, step.Restarting, step.Started, step.Ready, step.Healthy,
	step.RolledBack, step.ModeChanged, step.StandInStarted, step.StandInServes, step.Waiting,
}

// String returns the kind in words, as "rolled back".
func (k EventKind) String() string {
	if k < 0 || int(k) >= len(eventKinds) {
		k = 0
	}
	return eventKinds[k]
}

// An observer is told the steps of one Run or Restart.
type observer interface {
	saw(EventKind, *candidate.Candidate)
	about(*candidate.Candidate)
	overlaps(EventKind)
	waitsLong()
	draining(EventKind, *RestartTimes, []string)
	watches(watch.Mode)
	ends() // the Run has ended
	rejected(error, candidate.ID)
	answered(error)
	handedOver() string
}

// newObserver returns the observer of a Run or Restart of r.
type newObserver func(context.Context, *process, *Restarter, string, *candidate.Rules) observer

// unobserved is the observer without Observe: it reports to the other packages of this library alone,
// see [image.Image.OnStep]. A program that calls RestartOnChange alone contains no other. It has a
// function in place of a pointer for the reason for which [image.Part] is none.
type unobserved struct {
	report   func(EventKind, error)
	underway atomic.Bool // a restart is, and a step will say how it ends
}

func withoutObserve(_ context.Context, p *process, _ *Restarter, _ string, _ *candidate.Rules) observer {
	return &unobserved{report: p.report}
}

func (*unobserved) saw(EventKind, *candidate.Candidate) {}
func (*unobserved) about(*candidate.Candidate)          {}
func (*unobserved) overlaps(EventKind)                  {}
func (*unobserved) waitsLong()                          {}
func (*unobserved) watches(watch.Mode)                  {}
func (*unobserved) ends()                               {}
func (*unobserved) handedOver() string                  { return "" }

func (o *unobserved) draining(kind EventKind, _ *RestartTimes, _ []string) {
	if !o.underway.Swap(true) || kind != EventDraining {
		o.report(kind, nil)
	}
}

func (o *unobserved) rejected(err error, _ candidate.ID) { o.report(EventRejected, err) }

func (o *unobserved) answered(err error) {
	if o.underway.Swap(false) || !isRetryable(err) {
		o.report(EventRejected, err)
	}
}

// report reports a step to the other packages of this library. It also notes that a restart is under way; replaceImage
// notes the end.
func (p *process) report(kind EventKind, err error) {
	i := p.image()
	if kind == EventDraining || kind == EventRestarting {
		i.Restarts.Store(true)
	}
	i.Report(kind.String(), err)
}

// events is the observer that makes events of the steps.
type events struct {
	process *process
	status  *statuspage.Tracker // nil without a status page
	ctx     context.Context
	r       *Restarter
	path    string
	running BuildInfo

	mu                    sync.Mutex   // a version may come while the program is drained for another one
	seen, verified, waits candidate.ID // of the files that were reported
	candidate             candidate.ID // that has no answer yet; zero if there is none
	version               BuildInfo    // of that
	underway              bool         // a restart is, and an event will say how it ends
	drains                bool         // the program is drained, and that was reported
	rejection             string       // the last event was about it: its text, and the file if it lasts; otherwise ""
	mode                  string       // that was reported
}

func withObserve(ctx context.Context, p *process, r *Restarter, path string, rules *candidate.Rules) observer {
	tracker := p.status(path, rules)
	if r.Observe == nil && !p.image().Reports() {
		return withoutObserve(ctx, p, r, path, rules)
	}
	o := &events{process: p, status: tracker, ctx: ctx, r: r, path: path, running: buildInfo(rules.Running.Build())}
	if r.Observe != nil {
		p.outcome.reportTo(o)
	}
	return o
}

// saw adds an event about a candidate, unless there was one about the same file.
func (o *events) saw(kind EventKind, c *candidate.Candidate) {
	o.mu.Lock()
	defer o.mu.Unlock()
	last := &o.seen
	switch kind {
	case EventVerifying:
		last = &o.verified
	case EventWaiting:
		last = &o.waits
	}
	o.is(c)
	if c.ID == *last {
		return
	}
	*last = c.ID
	e := Event{Kind: kind}
	if kind == EventSeen {
		e.At = c.Seen
	}
	o.add(e)
}

// about has the next events be about a candidate that was seen before.
func (o *events) about(c *candidate.Candidate) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.is(c)
}

// is has the next events be about a candidate. It is called with o locked.
func (o *events) is(c *candidate.Candidate) { o.candidate, o.version = c.ID, buildInfo(c.Build) }

// overlaps adds an event about a stand-in.
func (o *events) overlaps(kind EventKind) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if kind == EventStandInServes {
		o.process.image().Restarts.Store(true)
	}
	o.add(Event{Kind: kind})
}

// waitsLong adds an event that says that the version waits for leave, unless the last one about it said so: a
// version that was looked at again has waited before.
func (o *events) waitsLong() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.underway {
		o.add(Event{Kind: EventWaiting})
	}
}

// draining adds an event about a drain, or that it has ended: then the exec comes next.
func (o *events) draining(kind EventKind, times *RestartTimes, unfinished []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.add(Event{Kind: kind, Times: *times, Unfinished: unfinished})
}

// watches has the status say how changes are noticed, and adds an event if changes are noticed in another way than the last event says.
func (o *events) watches(mode watch.Mode) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.status != nil {
		o.status.Watching(o.path, mode.String())
	}
	if mode.String() == o.mode {
		return
	}
	o.mode = mode.String()
	o.add(Event{Kind: EventModeChanged, Mode: WatchMode(mode)})
}

// ends has the status say that the path is not watched any more.
func (o *events) ends() {
	if o.status != nil {
		o.status.Unwatched(o.path)
	}
}

// add adds an event about a step. It is called with o locked.
func (o *events) add(e Event) {
	if e.Kind != EventDraining || !o.drains {
		o.process.report(e.Kind, nil)
	}
	switch e.Kind {
	case EventDraining:
		o.underway, o.drains = true, true
	case EventWaiting, EventRestarting, EventStandInServes:
		o.underway = true
	}
	o.rejection = ""
	o.observe(e)
}

// observe has Observe called with an event about the candidate. It is called with o locked.
func (o *events) observe(e Event) {
	if o.r.Observe != nil {
		e.Old, e.New = o.running, o.version
		o.send(e)
	}
}

// isReplaced reports whether a version is about to be executed. One that is rejected meanwhile is a newer one.
func (o *events) isReplaced() bool { return o.process.image().IsReplaced() }

// rejected adds an event, unless the last one has said the same.
func (o *events) rejected(err error, id candidate.ID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.addRejected(err, cmp.Or(id, o.candidate))
}

// addRejected is called with o locked.
func (o *events) addRejected(err error, id candidate.ID) {
	r := step.Rejection{Err: err, Retryable: isRetryable(err)}
	if id != (candidate.ID{}) {
		r.File = id.Mark()
	}
	text := err.Error()
	if !r.Retryable {
		text += r.File // of the same reason for another file
	}
	ends := o.underway && !o.isReplaced()
	if !ends && text == o.rejection {
		return
	}
	o.process.report(EventRejected, &r)
	if !o.isReplaced() {
		o.underway, o.drains = false, false
	}
	o.rejection = text
	o.observe(Event{Kind: EventRejected, Err: err})
}

// answered adds an event that says why the candidate was not executed. A reason that may pass,
// and for which nothing was drained, it leaves to the log, which waits for a while until it
// says it.
func (o *events) answered(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch e := err.(type) {
	case *endedError:
		err = context.Cause(o.ctx)
	case *drainedError:
		err = e.error
	}
	if o.underway && !o.isReplaced() || !isRetryable(err) && o.ctx.Err() == nil {
		o.addRejected(err, o.candidate)
	}
	o.candidate, o.version = candidate.ID{}, BuildInfo{}
}

// send has Observe called. Any goroutine may call it.
func (o *events) send(e Event) {
	if e.At.IsZero() {
		e.At = time.Now()
	}
	e.Path, e.Generation = o.path, o.process.inherited.Number(handover.Generation)
	o.r.events.Add(func(lost int) {
		e.Lost = lost
		o.r.Observe(e)
	})
}

// handedOver returns handover.Observed: how both versions were built, to which the number of lost
// events is added. It leaves out a text that could not cross. process.observed parses it.
func (o *events) handedOver() (text string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	separator := func(r rune) bool { return r == ' ' || r == ',' || r == 0 }
	for _, b := range [...]BuildInfo{o.running, o.version} {
		for _, field := range [...]string{b.ID, b.Module, b.Version} {
			if strings.ContainsFunc(field, separator) {
				field = ""
			}
			text += field + " "
		}
	}
	return text
}

// observed returns how the version was built that ran before this one, and how many of its
// events were lost.
func (p *process) observed() (before BuildInfo, lost int) {
	fields := strings.Split(p.inherited.Texts[handover.Observed], " ")
	if len(fields) < 7 {
		return BuildInfo{}, 0
	}
	lost, _ = strconv.Atoi(fields[6])
	if p.rolledBack() != nil {
		fields = fields[3:] // the restart was into the version that failed
	}
	return BuildInfo{ID: fields[0], Module: fields[1], Version: fields[2]}, lost
}
