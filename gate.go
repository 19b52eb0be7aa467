package autorestart

import (
	"context"
	"io"
	"math"
	"os"
	"sync/atomic"
	"time"

	"github.com/autorestart-go/autorestart/internal/candidate"
	"github.com/autorestart-go/autorestart/internal/drain"
	"github.com/autorestart-go/autorestart/internal/passing"
	"github.com/autorestart-go/autorestart/internal/randomdelay"
	"github.com/autorestart-go/autorestart/internal/report"
	"github.com/autorestart-go/autorestart/internal/step"
	"github.com/autorestart-go/autorestart/internal/watch"
)

// A Gate gives leave to restart, see [Restarter.Gate]. It keeps many machines from restarting at the
// same time, or into a version that has failed elsewhere. The module contrib/fleet has two Gates for
// that. [RandomDelay] returns one that needs no server.
//
// The methods of a Gate are called on goroutines of their own, one call at a time in a process. They may
// block, and may call this package, except Restart.
type Gate interface {
	// Acquire asks for leave to restart into the new version of c, and waits for it. The program
	// serves meanwhile. exe is the file of the new version, open for reading. Acquire must not close
	// exe, nor use it after it has returned. Release gets the state, which may be nil, in whichever
	// version runs then. Keep it small: it crosses the exec in memory.
	//
	// ctx ends when another file is at the path, or with the context of Run or Restart. Acquire then
	// returns an error, and keeps nothing that it has got meanwhile.
	//
	// With an error, the version is rejected until its file changes. The version is looked at again soon
	// if the error is a [*RejectedError] that is Retryable, or wraps an errno of a shortage.
	//
	// With Overlap, Acquire may be called for a newer version while there is leave for an earlier one.
	// If it returns no error, the new leave replaces the earlier one. Otherwise the earlier one holds.
	Acquire(ctx context.Context, c Change, exe *os.File) (state []byte, err error)

	// Release receives how a restart for which there was leave has ended. The version that runs then
	// calls it. A process that was started afresh calls it, too, when it is ready: a crash may have
	// ended a restart, and then this is the only call about it.
	//
	// The next Acquire waits until Release has returned. A Gate that depends on a server tries again
	// while the server can't be reached: Release is not called again. ctx does not end before the
	// process. An error is logged, and the state is dropped.
	Release(ctx context.Context, r GateResult) error
}

// A GateResult is how a restart has ended, for [Gate].
type GateResult struct {
	Outcome GateOutcome

	// State is what Acquire has returned, or nil if that was empty. It is nil in a process that was started
	// afresh. With package systemd and a descriptor store, such a process has the state from before a
	// crash.
	State []byte

	Running BuildInfo // the version that runs

	// Err is a [*RollbackError] for GateRolledBack, and the reason for which there was no exec for
	// GateCalledOff. It is nil for GateReady.
	Err error
}

// A GateOutcome is how a restart has ended.
type GateOutcome int

// Outcomes. A version that is on trial for a [Restarter.HealthTimeout] has no outcome before its trial
// has ended. A version that does not call [Ready] counts as ready when its time for that is over, see
// [Restarter.Run].
const (
	GateReady      GateOutcome = iota + 1 // the version that runs works: the new one, or the one that was started afresh
	GateRolledBack                        // the new version was executed and failed: the previous one runs again
	GateCalledOff                         // nothing was executed
)

var gateOutcomes = [...]string{"unknown", step.Ready, step.RolledBack, "called off"}

// String returns the outcome in words, as "rolled back".
func (o GateOutcome) String() string {
	if o < 0 || int(o) >= len(gateOutcomes) {
		o = 0
	}
	return gateOutcomes[o]
}

// gater asks a Gate about one restart after the other. It is no interface, for the reason for which
// overlapper is none.
type gater struct {
	// acquire waits for leave to execute x. It may close x and check it again. newer is as in
	// replaceImage.
	acquire func(ctx context.Context, x *replacement, newer *versions) error

	// confirm is called right before the exec of x.
	confirm func(ctx context.Context, x *replacement) error

	// end is called when the restart has failed, with the reason.
	end func(ctx context.Context, reason error)
}

// newGater returns the gater of a Run or Restart of r.
type newGater func(p *process, r *Restarter) gater

// open is the gater without a Gate.
var open = gater{
	acquire: func(context.Context, *replacement, *versions) error { return nil },
	confirm: func(context.Context, *replacement) error { return nil },
	end:     func(context.Context, error) {},
}

func withoutGate(*process, *Restarter) gater { return open }

func withGate(p *process, r *Restarter) gater {
	if r.Gate == nil {
		return open
	}
	g := &gating{process: p, r: r, told: p.tellGate(r)}
	return gater{g.acquire, g.confirm, g.end}
}

// gateState is the name under which the state of the Gate crosses.
var gateState = passing.CarriedName("gate")

// tellGate calls Release of the Gate of r with the outcome of the restart that began this image, or of
// a fresh start. The first Restarter with a Gate does so for all. The channel is closed when Acquire can
// be called.
func (p *process) tellGate(r *Restarter) <-chan struct{} {
	told := make(chan struct{})
	if result := (<-chan struct{})(told); !p.image().Gate.Told.CompareAndSwap(nil, &result) {
		return *p.image().Gate.Told.Load()
	}
	state, _ := p.image().Store.State(gateState)
	if err := p.rolledBack(); err != nil {
		r.release(p, GateResult{Outcome: GateRolledBack, State: state, Err: err})
		close(told)
		return told
	}
	over := make(chan bool, 1) // receives at the end of the trial whether this version works
	end := func(works bool) {
		select {
		case over <- works:
		default:
		}
	}
	p.image().OnStep(func(kind step.Kind, _ error) {
		switch kind {
		case step.Healthy:
			end(true)
		case step.RollbackFailed: // and is tried again; meanwhile a better version may be executed
			end(false)
		}
	})
	go func() {
		defer close(told)
		limit := time.NewTimer(time.Until(p.started.Add(p.image().ReadyWithin())))
		defer limit.Stop()
		select {
		case <-p.isReady:
		case <-limit.C:
		}
		if !p.image().Trial.On() || <-over {
			r.release(p, GateResult{Outcome: GateReady, State: state})
		}
	}()
	return told
}

// release calls Release in the background, after the calls before. The channel receives when it has
// returned.
func (r *Restarter) release(p *process, result GateResult) (done <-chan error) {
	return p.image().Gate.Hook.Start(func() error {
		defer p.image().Store.SetState(gateState, nil)
		r.callRelease(p, result)
		return nil
	})
}

func (r *Restarter) callRelease(p *process, result GateResult) {
	if len(result.State) == 0 {
		result.State = nil
	}
	rules := p.newRules("", true)
	result.Running = buildInfo(rules.Running.Build())
	rules.Close()
	err := drain.WithoutPanic(func() error { return r.Gate.Release(context.Background(), result) })
	if err != nil {
		report.To(r.Logger).Warn("the gate does not know how a restart has ended", "outcome", result.Outcome.String(), "reason", err)
	}
}

// gating is the gater with a Gate.
type gating struct {
	process *process
	r       *Restarter
	told    <-chan struct{} // closed when Acquire can be called, see tellGate
	leave   leave           // zero if there is none
}

// leave is what Acquire has given.
type leave struct {
	file  candidate.ID // that may be executed
	state []byte
}

// keptWhileWaiting is how long a version that waits for leave is kept as it was checked, with its lease
// and all that the exec needs open. After that it is checked again before it is executed.
const keptWhileWaiting = time.Second

func (g *gating) acquire(ctx context.Context, x *replacement, newer *versions) error {
	keep := time.NewTimer(keptWhileWaiting)
	defer keep.Stop()
	await := lookLater
	if newer != nil {
		await = newer.watcher.AwaitEvent
	}
	unchanged := func() error { return asError(x.rules.Unchanged(x.c)) }
	recheck := x.lastLook
	return g.wait(ctx, x, waiting{await, unchanged, func() error { return recheck() }, keep.C, func() {
		x.o.waitsLong()
		report.To(g.r.Logger).Info("new version waits for leave to restart", "path", x.c.Path)
		x.close()
		recheck = func() error { return x.check(ctx) }
	}})
}

// confirm waits for leave again if the last leave was for another version than x, which was refused or
// has failed as a stand-in since. Another file may be at the path, and the program is drained.
func (g *gating) confirm(ctx context.Context, x *replacement) error {
	if g.leave.file == x.c.ID {
		return nil
	}
	return g.wait(ctx, x, waiting{lookLater, x.lastLook, x.lastLook, nil, nil})
}

func lookLater(ctx context.Context) error { return watch.Sleep(ctx, lookInterval) }

// waiting is what happens while a version waits for leave.
type waiting struct {
	await     func(context.Context) error // returns when unchanged may have another result, or when ctx ends
	unchanged func() error                // whether the version can still be executed
	recheck   func() error                // the same, at last
	long      <-chan time.Time            // receives when the wait is long
	wasLong   func()                      // is called then
}

// wait waits for leave.
func (g *gating) wait(ctx context.Context, x *replacement, w waiting) error {
	x.o.saw(EventWaiting, x.c)
	asking, cancel := context.WithCancel(ctx)
	defer cancel()
	answer := g.ask(asking, x)
	changed := make(chan error, 1)
	go func() {
		err := w.unchanged()
		for err == nil && w.await(asking) == nil {
			err = w.unchanged()
		}
		changed <- err
		cancel()
	}()
	var a gateAnswer
	select {
	case a = <-answer:
	case <-w.long:
		w.wasLong()
		a = <-answer
	}
	cancel()
	changedErr := <-changed // from here on the watcher is not in use
	err := a.err
	if a.err == nil {
		g.leave = a.leave
		g.process.image().Store.SetState(gateState, append([]byte{}, a.state...))
	}
	switch {
	case ctx.Err() != nil:
		err = errEnded
	case changedErr != nil:
		err = changedErr
	case err == nil:
		err = w.recheck()
	}
	if a.err == nil && err != nil {
		g.end(ctx, err)
	}
	return err
}

// gateAnswer is the answer of Acquire.
type gateAnswer struct {
	leave
	err error
}

// ask calls Acquire in the background.
func (g *gating) ask(ctx context.Context, x *replacement) <-chan gateAnswer {
	c := Change{
		Path: x.c.Path, Size: x.c.ID.Size, Seen: x.c.Seen,
		Old: buildInfo(x.rules.Running.Build()), New: buildInfo(x.c.Build),
	}
	exe, id := x.c.File.(*os.File), x.c.ID
	answer := make(chan gateAnswer, 1)
	go func() {
		select {
		case <-g.told:
		case <-ctx.Done():
			answer <- gateAnswer{err: errEnded}
			return
		}
		var state []byte
		var over atomic.Bool // there is an answer
		err := callHook(ctx, &g.process.image().Gate.Hook, "Gate", math.MaxInt64, func(ctx context.Context) (err error) {
			got, err := g.r.Gate.Acquire(ctx, c, exe)
			if err != nil {
				return err
			}
			state = got
			if !over.CompareAndSwap(false, true) { // too late
				g.r.callRelease(g.process, GateResult{Outcome: GateCalledOff, State: got, Err: context.Cause(ctx)})
			}
			return nil
		})
		if err != nil && over.CompareAndSwap(false, true) {
			answer <- gateAnswer{err: rejectedBy(c.Path, "a version that the Gate has refused ("+err.Error()+")", "a version for which the Gate gives leave", err)}
			return
		}
		answer <- gateAnswer{leave: leave{id, state}}
	}()
	return answer
}

// releaseTime is how long Run and Restart wait for Release at their end.
const releaseTime = time.Second

// end gives the leave back, if there is one.
func (g *gating) end(ctx context.Context, reason error) {
	if g.leave.file == (candidate.ID{}) {
		return
	}
	switch e := reason.(type) {
	case *endedError:
		reason = context.Cause(ctx)
	case *drainedError:
		reason = e.error
	}
	done := g.r.release(g.process, GateResult{Outcome: GateCalledOff, State: g.leave.state, Err: reason})
	g.leave = leave{}
	if ctx.Err() == nil {
		return
	}
	select {
	case <-done:
	case <-time.After(releaseTime):
	}
}

// RandomDelay returns a Gate that delays a restart by up to d after the new version was found. The delay
// depends on the machine and on the version alone, so it is the same for all processes on a machine. On
// many machines the delays are spread evenly. A d of zero or less delays nothing.
//
// A version that is deployed again while it waits goes on waiting. One that is deployed again later is delayed
// again, unless the earlier delay has ended with leave.
//
// A machine is known by machine-id(5) and by its host name. A version is known by its build ID or, if it
// has none, by its content.
func RandomDelay(d time.Duration) Gate { return randomDelay{randomdelay.New(d)} }

// randomDelay is the Gate of RandomDelay.
type randomDelay struct{ schedule *randomdelay.Schedule }

func (r randomDelay) Acquire(ctx context.Context, c Change, exe *os.File) ([]byte, error) {
	version := c.New.ID
	if version == "" {
		var err error
		if version, err = randomdelay.Content(io.NewSectionReader(exe, 0, c.Size)); err != nil {
			return nil, err
		}
	}
	if delay := r.schedule.Delay(version); delay > 0 {
		if err := watch.Sleep(ctx, delay); err != nil {
			return nil, err
		}
	}
	r.schedule.Allow(version)
	return nil, nil
}

func (randomDelay) Release(context.Context, GateResult) error { return nil }
