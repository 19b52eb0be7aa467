package autorestart

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"time"

	"github.com/autorestart-go/autorestart/internal/candidate"
	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/image"
	"github.com/autorestart-go/autorestart/internal/report"
)

// Ready says that this version works: it has opened and claimed what it needs, and
// serves. Ready
//   - closes the inherited files that this version has not claimed
//   - restores the default action of inherited signals without a subscriber
//   - ends the trial of this version, which can't be rolled back any more, see
//     [Restarter.ReadyTimeout].
//
// If the previous version has set a [Restarter.HealthTimeout], the trial goes on after
// Ready for that time. The unclaimed files are closed when the trial ends.
//
// A program should call Ready in every version if it listens with package sockets, passes
// files on, or sets a ReadyTimeout. Calls after the first do nothing.
func Ready() {
	p := self()
	p.readying.Do(func() {
		healthWithin := p.image().Trial.BecomeReady()
		if healthWithin == 0 {
			p.endTrial()
		}
		p.ready.Store(time.Now().UnixNano())
		p.outcome.add(EventReady)
		close(p.isReady)
		if healthWithin == 0 {
			p.dropUnclaimed()
			return
		}
		p.signals.restoreDefaults()
		p.image().Store.BeginSettling()
		go p.watchHealth(healthWithin)
	})
}

// watchHealth rolls this version, which is ready, back if it is not healthy for the given time.
// Then its trial ends.
func (p *process) watchHealth(within time.Duration) {
	if unhealthy := p.health.Watch(within); unhealthy != nil {
		p.image().Trial.RollBackUnhealthy(cleanReason(unhealthy.Error()))
		return
	}
	p.endTrial()
	p.outcome.add(EventHealthy)
	p.dropUnclaimed()
}

// awaitSettled waits until this version is ready, or its time for that is up, if anything
// was handed to it: what it has not claimed yet would otherwise be handed on by a version
// that is still starting, and quick deploys could keep any version from ever being ready.
func (p *process) awaitSettled(ctx context.Context, r *Restarter, c *candidate.Candidate, lastLook func() error) error {
	settled := p.image().Store.Settled()
	select {
	case <-settled:
		return nil
	case <-p.isReady:
		return nil
	default:
	}
	report.To(r.Logger).Info("new version waits until this one is ready", "path", c.Path)
	limit := time.NewTimer(time.Until(p.started.Add(p.readyWithin())))
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

// endTrial is called once, by Ready or when this version has been healthy for its time.
func (p *process) endTrial() {
	p.image().Trial.End()
	if p.rollback != nil {
		p.rollback.Close()
	}
}

// ErrNoRollback is returned by [Rollback] in a version that is not on trial. Such a
// version was started afresh, or without a [Restarter.ReadyTimeout], or its trial has
// ended: it is ready, and the [Restarter.HealthTimeout] of the previous version is over.
var ErrNoRollback = errors.New("autorestart: no version to roll back to: this one is not on trial")

// Rollback says that this version does not work. The previous version is executed again,
// with the same PID, listeners and state. There, [RolledBack] returns a [*RollbackError]
// with the text of err. The version that failed is not executed again until its file is
// written or replaced.
//
// Before the exec, this version is drained as for any restart, but for 2 seconds at most,
// or 4 seconds if one of its drainers ignores the end of that time. The same applies if
// this version is rolled back because it was not ready in time or is not healthy.
//
// Rollback returns only if a rollback is not possible. An HTTP handler that calls
// Rollback can't answer its client, because the drain waits for that handler.
func Rollback(err error) error {
	reason := "it failed"
	if err != nil {
		reason = err.Error()
	}
	if err = image.Current().Trial.RollBack(cleanReason(reason)); err == handover.ErrNotOnTrial {
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

// RollbackUnlessReady rolls this version back if main panics or returns before it has
// called [Ready]. During a [Restarter.HealthTimeout], a panic of main after Ready rolls
// this version back, too, while a main that returns ends the program. Defer
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

// RollbackError says that this version runs again because a newer one failed.
type RollbackError struct {
	Generation int    // of the version that failed
	Reason     string // what it passed to Rollback, what its Check said, or what else happened
}

func (e *RollbackError) Error() string {
	return "autorestart: the new version was rolled back: " + e.Reason
}

// RolledBack returns a [*RollbackError] if this version runs again because a newer
// one failed, and nil otherwise.
func RolledBack() error { return self().rolledBack() }

func (p *process) rolledBack() error {
	if p.inherited.Texts[handover.Failed] == "" {
		return nil
	}
	return &RollbackError{Generation: p.inherited.Number(handover.Generation) - 1, Reason: p.inherited.Texts[handover.Reason]}
}
