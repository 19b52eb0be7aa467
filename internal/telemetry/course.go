package telemetry

import (
	"regexp"
	"strconv"
	"time"

	"github.com/autorestart-go/autorestart"
)

// An Outcome says in a word how a restart has ended.
type Outcome = string

// Outcomes. A restart has one of them.
const (
	Ready      Outcome = "ready"       // the new version is ready, and healthy if there is a HealthTimeout
	RolledBack Outcome = "rolled_back" // the new version has failed; the previous one runs again
	Replaced   Outcome = "replaced"    // a further version was executed before the new one was ready, and healthy
	CalledOff  Outcome = "called_off"  // there was no exec, although the program was drained
)

// Outcomes returns all outcomes.
func Outcomes() []Outcome { return []Outcome{Ready, RolledBack, Replaced, CalledOff} }

// An Attempt is what is known of a restart that has not ended.
type Attempt struct {
	Old, New                autorestart.BuildInfo
	Times                   autorestart.RestartTimes // as far as the restart has come
	WaitedFrom, WaitedUntil time.Time                // for the Gate; zero without one
	Unfinished              []string                 // the work that the exec has cut off
}

// A Restart is one that has ended.
type Restart struct {
	Outcome Outcome
	Attempt
	At       time.Time                // of the event that says so
	Rollback autorestart.RestartTimes // of the rollback; zero if Outcome is not RolledBack
	Err      error                    // as in the event; nil if Outcome is Ready or Replaced
}

// A Course follows restarts by their events, and says how they end. One image begins a restart,
// and another one ends it, so the fields cross the exec as JSON.
type Course struct {
	Last    Attempt // that has begun this image
	Started bool    // Last has not ended: this image is not ready, or not healthy

	Next      Attempt // the one that this image makes
	Underway  bool    // the program is drained for Next
	Executing bool    // the exec comes next
}

// Event returns the restarts that have ended with an event: none, one, or two if a version in
// between has not become ready.
func (c *Course) Event(e autorestart.Event) (ended []Restart) {
	switch e.Kind {
	case autorestart.EventSeen:
		if !c.Underway {
			c.Next = Attempt{Times: autorestart.RestartTimes{Seen: e.At}}
		}
	case autorestart.EventWaiting:
		if !c.Next.Waits() {
			c.Next.WaitedFrom, c.Next.WaitedUntil = e.At, time.Time{}
		}
	case autorestart.EventStandInStarted:
		c.Next.endWait(e.At)
	case autorestart.EventDraining, autorestart.EventStandInServes, autorestart.EventRestarting:
		c.Next.endWait(e.At)
		c.Next.Old, c.Next.New = e.Old, e.New
		if !e.Times.Seen.IsZero() {
			c.Next.Times = e.Times
		}
		c.Underway = true
		if e.Kind == autorestart.EventRestarting {
			c.Executing, c.Next.Unfinished = true, e.Unfinished
		}
	case autorestart.EventRejected:
		c.Next.endWait(e.At)
		if c.Underway {
			c.Next.Old, c.Next.New, c.Next.Unfinished = e.Old, e.New, nil
			ended = []Restart{{Outcome: CalledOff, Attempt: c.Next, At: e.At, Err: e.Err}}
		}
		c.forget()
	case autorestart.EventStarted:
		ended = c.replaced(e)
		if e.Generation == 0 {
			ended = nil // the process before has crashed
		}
		c.Last, c.Started = c.Next, e.Generation > 0
		c.Last.Old, c.Last.New, c.Last.Times = e.Old, e.New, e.Times
		c.forget()
	case autorestart.EventReady, autorestart.EventHealthy:
		if c.Started && !e.OnTrial {
			c.Started = false
			c.Last.Times = e.Times
			ended = []Restart{{Outcome: Ready, Attempt: c.Last, At: e.At}}
		}
	case autorestart.EventRolledBack:
		if c.Executing { // the version that failed has reported nothing
			ended = c.replaced(e)
			c.Last = c.Next
		}
		c.Last.Old, c.Last.New = e.New, e.Old
		ended = append(ended, Restart{Outcome: RolledBack, Attempt: c.Last, At: e.At, Rollback: e.Times, Err: e.Err})
		c.Started = false
		c.forget()
	}
	return ended
}

// Reason returns the reason of an EventRejected that comes next. An error of the Gate's own is one of
// [GateRefused].
func (c *Course) Reason(e autorestart.Event) Reason {
	reason := ReasonOf(e.Err)
	if reason == Other && c.Next.Waits() {
		return GateRefused
	}
	return reason
}

// replaced returns the restart that has begun the image before, if that was still on trial when the
// next one started.
func (c *Course) replaced(e autorestart.Event) []Restart {
	if !c.Started {
		return nil
	}
	return []Restart{{Outcome: Replaced, Attempt: c.Last, At: e.At}}
}

// forget forgets the restart that this image has made.
func (c *Course) forget() { c.Next, c.Underway, c.Executing = Attempt{}, false, false }

func (a *Attempt) endWait(at time.Time) {
	if a.Waits() {
		a.WaitedUntil = at
	}
}

// Waits reports whether a restart waits for the Gate.
func (a *Attempt) Waits() bool { return !a.WaitedFrom.IsZero() && a.WaitedUntil.IsZero() }

// Waited returns how long the restart has waited for the Gate.
func (a *Attempt) Waited() time.Duration { return Between(a.WaitedFrom, a.WaitedUntil) }

// connections is the phrase of package sockets about connections.
var connections = regexp.MustCompile(`^(\d+) connections? of \S+ `)

// Cut returns how many connections of package sockets the exec has cut off.
func (a *Attempt) Cut() (n int) {
	for _, phrase := range a.Unfinished {
		if m := connections.FindStringSubmatch(phrase); m != nil {
			number, _ := strconv.Atoi(m[1])
			n += number
		}
	}
	return n
}

// A Phase is a part of a restart, named by the step that ends it, as in [autorestart.RestartTimes].
type Phase struct {
	Name     string
	From, To time.Time
}

// Phases are the names of the phases, in their order.
var Phases = []string{"judged", "allowed", "quiesced", "drained", "executed", "started", "ready"}

// Phases returns the phases that the restart has come through.
func (a *Attempt) Phases() (phases []Phase) {
	t := a.Times
	if t.Judged.After(a.WaitedFrom) && !a.WaitedUntil.IsZero() {
		t.Judged = a.WaitedFrom
	}
	from := t.Seen
	for i, to := range []time.Time{t.Judged, a.WaitedUntil, t.Quiesced, t.Drained, t.Executed, t.Started, t.Ready} {
		if from.IsZero() || to.IsZero() {
			continue
		}
		if to.Before(from) { // the clock was set, or the drain has begun for an earlier version
			to = from
		}
		phases = append(phases, Phase{Phases[i], from, to})
		from = to
	}
	return phases
}

// Between returns the time between two steps, or 0 if one of them is not known.
func Between(from, to time.Time) time.Duration {
	if from.IsZero() || to.IsZero() {
		return 0
	}
	return max(0, to.Sub(from))
}
