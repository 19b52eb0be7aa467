package autorestart

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/autorestart-go/autorestart/internal/candidate"
	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/image"
	"github.com/autorestart-go/autorestart/internal/report"
	"github.com/autorestart-go/autorestart/internal/status"
	"github.com/autorestart-go/autorestart/internal/statuspage"
	"github.com/autorestart-go/autorestart/internal/step"
)

// Ready says that this version works: it has opened and claimed what it needs, and
// serves. Ready
//   - closes the inherited files that this version has not claimed
//   - restores the default action of inherited signals without a subscriber
//   - ends the trial of this version, see [Restarter.ReadyTimeout]. From then on the
//     version can't be rolled back.
//
// If the previous version has set a [Restarter.HealthTimeout], the trial goes on after
// Ready for that time. The unclaimed files are closed when the trial ends.
//
// A program should call Ready in every version if it listens with package sockets, passes
// files on, or sets a ReadyTimeout, HealthTimeout or Overlap. Calls after the first do
// nothing.
//
// In a stand-in, see [StandIn], Ready also says to the main process that this version
// works. The stand-in accepts work when the main process has answered.
func Ready() {
	p := self()
	p.readying.Do(func() {
		if image.BeforeReady != nil && !image.BeforeReady() {
			return
		}
		healthWithin := p.image().Trial.BecomeReady()
		if healthWithin == 0 {
			p.endTrial()
		}
		p.ready.Store(time.Now().UnixNano())
		p.hasBecome(EventReady)
		close(p.isReady)
		p.besideReady()
		if healthWithin == 0 {
			p.dropUnclaimed()
			return
		}
		p.signals.restoreDefaults()
		p.image().Store.BeginSettling()
		go p.watchHealth(healthWithin)
	})
}

// status returns the status of this image, which a Run or Restart for the path keeps; nil if there is none.
func (p *process) status(path string, rules *candidate.Rules) *statuspage.Tracker {
	tracker, err := status.Of(p.image(), status.About{
		Version: buildInfo(rules.Running.Build()).String(), Started: p.started, File: p.launch.id,
	})
	if err != nil {
		return nil
	}
	if p.ready.Load() != 0 {
		tracker.Ready()
	}
	tracker.Watching(path, "")
	return tracker
}

// watchHealth rolls this version, which is ready, back if it is not healthy for the given time.
// Then its trial ends.
func (p *process) watchHealth(within time.Duration) {
	if unhealthy := p.health.Watch(within); unhealthy != nil {
		p.image().Trial.RollBackUnhealthy(cleanReason(unhealthy.Error()))
		return
	}
	p.endTrial()
	p.hasBecome(EventHealthy)
	p.dropUnclaimed()
}

// hasBecome reports a step of this image after its start.
func (p *process) hasBecome(kind EventKind) {
	p.report(kind, nil)
	p.outcome.add(Event{Kind: kind, At: time.Now(), OnTrial: p.image().Trial.On()})
}

// awaitSettled waits until this version is ready, or its time for that is up, if anything
// was handed to it: what it has not claimed yet would otherwise be handed on by a version
// that is still starting, and quick deploys could keep any version from ever being ready.
func (p *process) awaitSettled(ctx context.Context, r *Restarter, c *candidate.Candidate, lastLook func() error) error {
	settled := p.image().Store.Settled()
	if p.inherited.Number(handover.Beside) != 0 {
		settled = nil // a stand-in serves until this version is ready
	}
	select {
	case <-settled:
		return nil
	case <-p.isReady:
		return nil
	default:
	}
	report.To(r.Logger).Info("new version waits until this one is ready", "path", c.Path)
	limit := time.NewTimer(time.Until(p.started.Add(p.image().ReadyWithin())))
	defer limit.Stop()
	select {
	case <-settled:
	case <-p.isReady:
	case <-limit.C:
	case <-ctx.Done():
		return errEnded
	}
	return lastLook()
}

// checkTrial returns an error as long as this version may be rolled back to one that does not know
// what to do with a stand-in. Each attempt may call Verify.
func (x *replacement) checkTrial() error {
	if trial := x.prepared.trial; !x.r.Overlap || trial == nil || trial.PreviousKnowsStandIns() {
		return nil
	}
	return &drainedError{&RejectedError{
		Path: x.c.Path, Found: "a version on trial, whose previous version's release of " + modulePath + " has no Overlap",
		Expected: "the end of the trial", Retryable: true,
	}}
}

// endTrial is called once, by Ready or when this version has been healthy for its time.
func (p *process) endTrial() {
	p.image().Trial.End()
	if p.rollback != nil {
		p.rollback.Close()
	}
}

// ErrNoRollback is returned by [Rollback] in a version that is not on trial:
//   - the version was started afresh
//   - the previous version has set neither a [Restarter.ReadyTimeout] nor a
//     [Restarter.HealthTimeout]
//   - the trial has ended, see [Ready].
var ErrNoRollback = errors.New("autorestart: no version to roll back to: this one is not on trial")

// Rollback says that this version does not work. The previous version is executed again,
// with the same PID, listeners and state. In the previous version, [RolledBack] returns a
// [*RollbackError] with the text of err. The previous version does not execute the failed
// version again until the file is written, replaced or touched.
//
// Before the exec, this version is drained for 2 seconds at most, or for 4 seconds if a
// drainer ignores the end of that time. The same holds for the rollback of a version that
// is not ready in time or not healthy.
//
// In a stand-in, see [StandIn], Rollback rejects the version and exits.
//
// Rollback returns only if the rollback fails, or with [ErrNoRollback]. An HTTP handler
// that calls Rollback can't answer its client, because the drain waits for that handler.
func Rollback(err error) error {
	reason := "it failed"
	if err != nil {
		reason = err.Error()
	}
	p := self()
	p.joinMain()
	if err = p.image().Trial.RollBack(cleanReason(reason)); err == handover.ErrNotOnTrial {
		return ErrNoRollback
	}
	flushLog()
	return err
}

// maxReason is the length in bytes to which the reason of a rollback is cut:
// execve(2) takes no variable of more than 128 KiB, and the others in there have the
// greater need.
const maxReason = 4 << 10

// cleanReason returns a reason that can cross the exec in a variable.
func cleanReason(reason string) string {
	if len(reason) > maxReason {
		reason = strings.ToValidUTF8(reason[:maxReason], "") + "…"
	}
	return strings.ReplaceAll(reason, "\x00", "�")
}

// RollbackUnlessReady rolls this version back if main panics or returns before [Ready]
// was called. During a [Restarter.HealthTimeout], it also rolls this version back if main
// panics after Ready. A main that returns after Ready ends the program. Defer
// RollbackUnlessReady at the top of main:
//
//	defer autorestart.RollbackUnlessReady()
//
// It can't catch panics in other goroutines, fatal errors of the runtime, [os.Exit], or
// log.Fatal, which calls os.Exit.
func RollbackUnlessReady() {
	panicked := recover()
	if p := self(); p.image().Trial.On() && (panicked != nil || p.ready.Load() == 0) {
		reason := "main returned before it was ready"
		if panicked != nil {
			reason = "main panicked: " + report.PanicText(panicked)
			printPanic(panicked)
		}
		p.joinMain()
		p.image().Trial.RollBack(cleanReason(reason))
		flushLog()
	}
	if panicked != nil {
		panic(panicked)
	}
}

// printPanic writes what the runtime would have written, if standard error takes it soon.
func printPanic(v any) {
	stack := make([]byte, 64<<10)
	stack = stack[:runtime.Stack(stack, false)]
	report.To(stderrText{}).Error("panic: " + report.PanicText(v) + "\n\n" + string(stack))
	flushLog()
}

// executePrevious executes the previous version. Its caller keeps this version on
// trial meanwhile, so nothing that h names is closed.
func (p *process) executePrevious(target handover.Target, args, env []string, h *handover.State) error {
	report.Warn("rolling back to the previous version", "path", p.launch.path, "reason", h.Texts[handover.Reason])
	p.image().Report(step.RollingBack, nil)
	h.Reserve = p.rollback
	if h.Texts[handover.Image] == "" {
		if id, err := p.files.Stat(target.ExecPath()); err == nil {
			h.Texts[handover.Image] = id.Format()
		}
	}
	p.image().Store.SetReceiverKnows(p.inherited.Number(handover.Connections) != 0)
	var resume func()
	if drainers := p.image().Drainers.Notifier(); drainers != nil {
		var quiesced, drained time.Time
		quiesced, drained, resume = drainers.BeginRollback()
		seen, _, _ := strings.Cut(h.Texts[handover.Times], "/") // and Judged at once
		h.Texts[handover.Times] = seen + "/" + seen + "/" + handover.FormatTimes(quiesced, drained)
	}
	defer p.beside.pause()()
	err := p.image().Store.HandBack(h, func() error {
		p.beside.handOver(p.inherited, h)
		return p.execute(target, args, env, h)
	})
	report.Error("rollback failed: cannot execute the previous version", "path", p.launch.path, "reason", err)
	p.image().Report(step.RollbackFailed, err)
	if resume != nil {
		resume()
	}
	return err
}

// A RollbackError says that this version runs again because a newer one failed.
type RollbackError struct {
	Generation int    // of the version that failed
	Reason     string // the error that it passed to Rollback or that its Check returned, or what else happened
}

func (e *RollbackError) Error() string {
	return "autorestart: the new version was rolled back: " + e.Reason
}

// RolledBack returns a [*RollbackError] if this version runs again because a newer one
// failed. Otherwise it returns nil.
func RolledBack() error { return self().rolledBack() }

func (p *process) rolledBack() error {
	if p.inherited.Texts[handover.Failed] == "" {
		return nil
	}
	return &RollbackError{Generation: p.inherited.Number(handover.Generation) - 1, Reason: p.inherited.Texts[handover.Reason]}
}

// An outcome says how the restart has ended that began this image. Its events wait for a
// Restarter that observes.
type outcome struct {
	mu      sync.Mutex  // nothing inside but the lock of report.Events
	send    func(Event) // to the last one; nil before the first
	waiting []Event     // EventReady, EventHealthy
}

// reportTo sends the events of the time before the first observer.
func (x *outcome) reportTo(o *events) {
	p := o.process
	x.mu.Lock()
	defer x.mu.Unlock()
	first := x.send == nil
	before, lost := p.observed()
	x.send = func(e Event) {
		e.Old, e.New, e.Times = before, o.running, p.restartTimes()
		if e.Kind == EventStarted || e.Kind == EventRolledBack {
			e.Times.Ready = time.Time{} // it may be known by now
		}
		o.send(e)
	}
	if !first {
		return
	}
	if lost > 0 {
		o.r.events.Lose(lost)
	}
	started := Event{Kind: EventStarted, At: p.started}
	if err := p.rolledBack(); err != nil {
		started.Kind, started.Err = EventRolledBack, err
	}
	x.send(started)
	for _, e := range x.waiting {
		x.send(e)
	}
}

// add sends an event about this image, now or when there is an observer.
func (x *outcome) add(e Event) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.send == nil {
		x.waiting = append(x.waiting, e)
		return
	}
	x.send(e)
}
