package autorestart

import (
	"context"
	"errors"
	"sync"
	"syscall"

	"github.com/autorestart-go/autorestart/internal/candidate"
	"github.com/autorestart-go/autorestart/internal/drain"
	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/report"
	"github.com/autorestart-go/autorestart/internal/standin"
)

// Overlap: two versions side by side. Package internal/standin has the way of a stand-in.

// StandIn reports whether this process is the stand-in of a restart, see
// [Restarter.Overlap]: a child process that serves while the main process executes the
// new version. A stand-in should leave to the main process what may run only once, such
// as cron jobs, migrations, leader election and PID files.
//
// In a stand-in, [Restarter.Run] and [Watcher.Next] only wait for the end of their
// context, [NotifyOnChange] reports nothing, and [Restarter.Restart] returns an error.
// [Rollback] rejects the version. The stand-in exits when the main process is ready, or
// has ended.
//
// A value that a stand-in passes to [SetState] arrives in the main process when the
// stand-in exits, unless the main process has set or removed that state itself.
func StandIn() bool { return self().isStandIn() }

func (p *process) isStandIn() bool { return p.inherited.IsStandIn }

var errStandIn = errors.New("autorestart: this process is a stand-in: only its main process restarts")

// An overlapper runs a stand-in beside one restart after the other. It is no interface, with which
// the linker would put the code of everything that the types in it have into each program, see
// [image.Part].
type overlapper struct {
	// begin starts a stand-in of x, and returns when that serves. The context ends when no
	// stand-in serves any more.
	begin func(ctx context.Context, x *replacement) (context.Context, error)

	// whileDraining calls drain. It returns what is executed then: x, or a newer version.
	whileDraining func(ctx context.Context, x *replacement, newer *versions, drain func() error) (*replacement, error)

	// ping returns an error unless the stand-in works.
	ping func() error

	// resume has the program accept again.
	resume func(drain.Drained)

	// end is called when the restart has failed, with the reason. It returns a better one if
	// the stand-in knows one.
	end func(reason error) error
}

// newOverlapper returns the overlapper of a Run or Restart of r.
type newOverlapper func(p *process, r *Restarter) (overlapper, error)

// alone is the overlapper without Overlap.
var alone = overlapper{
	begin: func(ctx context.Context, _ *replacement) (context.Context, error) { return ctx, nil },
	whileDraining: func(_ context.Context, x *replacement, _ *versions, drain func() error) (*replacement, error) {
		return x, drain()
	},
	ping:   func() error { return nil },
	resume: drain.Drained.Resume,
	end:    func(reason error) error { return reason },
}

func withoutOverlap(*process, *Restarter) (overlapper, error) { return alone, nil }

func withOverlap(p *process, r *Restarter) (overlapper, error) {
	p.joinMain()
	p.standIns()
	if !r.Overlap {
		o := alone
		o.begin = p.withoutStandIns
		return o, nil
	}
	err := standin.Supported()
	if err == nil && handover.Secure {
		err = errors.New("this process may have more rights than its starter")
	}
	if err != nil {
		return overlapper{}, &overlapError{err}
	}
	o := &overlapping{process: p, r: r}
	return overlapper{o.begin, o.whileDraining, o.ping, o.resume, o.end}, nil
}

// withoutStandIns waits until the stand-ins of earlier restarts have ended, if x does not know what
// to do with them.
func (p *process) withoutStandIns(ctx context.Context, x *replacement) (context.Context, error) {
	set := p.standIns()
	if set.Empty() || handsOverNothing(x.c) == "" && handover.KnowsStandIns(x.c.Build.LibraryVersion) {
		return ctx, nil
	}
	report.To(x.r.Logger).Info("new version waits until no stand-in is left: it contains no release of "+modulePath+" that has Overlap", "path", x.c.Path)
	if err := x.awaitRoom(ctx, set.AwaitRoom, 1); err != nil {
		return nil, err
	}
	return ctx, nil
}

// An overlapError says why Overlap can't be had in this process.
type overlapError struct{ err error }

func (e *overlapError) Error() string {
	return "autorestart: Overlap is not supported here: " + e.err.Error()
}

func (e *overlapError) Unwrap() []error { return []error{e.err, errors.ErrUnsupported} }

// overlapping is the overlapper with Overlap.
type overlapping struct {
	process *process
	r       *Restarter
	path    string

	mu      sync.Mutex
	standIn *standin.StandIn   // that serves; nil while none does
	cancel  context.CancelFunc // ends the drain
}

func (o *overlapping) begin(ctx context.Context, x *replacement) (context.Context, error) {
	ctx, o.cancel = context.WithCancel(ctx)
	if err := o.replace(ctx, x); err != nil {
		o.cancel()
		o.standAlone()
		return nil, err
	}
	return ctx, nil
}

// standAlone is called when no stand-in serves any more, before this version accepts again.
func (o *overlapping) standAlone() {
	beside := &o.process.image().Beside
	beside.SetGive(nil)
	beside.SetServes(false)
}

func (o *overlapping) resume(d drain.Drained) {
	o.standAlone()
	d.Resume()
}

// replace starts a stand-in of x, and has it serve in place of this version, or of the stand-in
// that has served before.
func (o *overlapping) replace(ctx context.Context, x *replacement) error {
	o.path = x.c.Path
	if !handover.KnowsStandIns(x.c.Build.LibraryVersion) {
		return o.rejected("a version whose release of "+modulePath+" has no Overlap", nil)
	}
	if o.r.BeforeExec != nil {
		if err := x.beforeExec(ctx, x, true); err != nil {
			return drainedFor(err)
		}
	}
	set := o.process.standIns()
	if err := x.awaitRoom(ctx, set.AwaitRoom, maxStandIns); err != nil {
		return err
	}
	starts := set.AboutToStart()
	standIn, err := o.process.startStandIn(set, x)
	starts()
	if err != nil {
		if execTransient(err) {
			return &RejectedError{
				Path: o.path, Found: "a stand-in that can't be started now (" + candidate.Cause(err).Error() + ")",
				Expected: "enough processes, descriptors and memory", Retryable: true, Err: err,
			}
		}
		return err
	}
	report.To(o.r.Logger).Info("started the new version as a stand-in", "path", o.path)
	x.o.overlaps(EventStandInStarted)
	if err = standIn.AwaitReady(ctx, o.r.readyTimeout()); err == nil {
		err = o.serve(ctx, standIn)
	}
	if err != nil {
		o.process.image().Beside.Reject()
		if ctx.Err() != nil {
			return errEnded
		}
		return o.failed(err)
	}
	x.o.overlaps(EventStandInServes)
	return nil
}

// maxStandIns is how many stand-ins a process has at most: one that starts or serves, and one that
// drains.
const maxStandIns = 2

// serve has the stand-in serve. From then on the end of the one that has served before is no reason to
// call the drain off.
func (o *overlapping) serve(ctx context.Context, x *standin.StandIn) error {
	o.mu.Lock()
	if ctx.Err() != nil {
		o.mu.Unlock()
		x.Kill()
		return context.Cause(ctx)
	}
	before := o.standIn
	o.standIn = x
	o.mu.Unlock()
	if err := x.Serve(ctx, o.r.drainTimeout()); err != nil {
		x.Kill()
		o.mu.Lock()
		defer o.mu.Unlock()
		if o.standIn = before; before != nil && before.Err() != nil {
			o.cancel()
		}
		return err
	}
	report.To(o.r.Logger).Info("the stand-in serves", "path", o.path)
	beside := &o.process.image().Beside
	beside.SetServes(true)
	beside.SetGive(x.Give)
	o.process.standIns().RetireOthers(x)
	go x.Watch(ctx)
	go func() {
		<-x.Ended()
		o.mu.Lock()
		defer o.mu.Unlock()
		if o.standIn == x {
			o.cancel()
		}
	}()
	return nil
}

// whileDraining looks for newer versions during the drain. Each gets a stand-in, which serves in
// place of the one before.
func (o *overlapping) whileDraining(ctx context.Context, x *replacement, newer *versions, drain func() error) (*replacement, error) {
	done := make(chan error, 1)
	go func() { done <- drain() }()
	if newer == nil {
		return x, <-done
	}
	drained, stop := context.WithCancel(ctx)
	result := make(chan error, 1)
	go func() {
		result <- <-done
		stop()
	}()
	newer.keep()
	for {
		x.lastLook = x.intact
		c, err := newer.watcher.Next(drained)
		if err != nil {
			return x, <-result
		}
		if o.process.standIns().AwaitRoom(drained, maxStandIns) != nil {
			newer.watcher.PutBack() // for the new image, or for this one
			return x, <-result
		}
		y, err := o.process.newReplacement(x.r, x.rules, c, x.parts)
		if err == nil {
			if err = y.check(ctx); err == nil {
				if err = y.gate.acquire(drained, y, newer); err == nil {
					y.announce()
					err = o.replace(ctx, y)
				}
				if err != nil {
					y.close()
				}
			}
		}
		switch _, ended := err.(*endedError); {
		case err == nil:
			x.close()
			x = y
			newer.keep()
		case ended:
			newer.watcher.PutBack()
			return x, <-result
		default:
			newer.answer(err)
			x.o.about(x.c)
		}
	}
}

func (o *overlapping) ping() error {
	x := o.serving()
	err := x.Ping()
	if err == nil {
		return nil
	}
	x.Kill()
	return o.failed(err)
}

func (o *overlapping) serving() *standin.StandIn {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.standIn
}

func (o *overlapping) end(reason error) error {
	o.standAlone() // also without a drain
	o.cancel()
	o.mu.Lock()
	x := o.standIn
	o.standIn = nil
	o.mu.Unlock()
	if err := x.Err(); err != nil {
		return o.failed(err)
	}
	x.Retire()
	return reason
}

// failed returns the rejection of a version whose stand-in has failed. One that was killed may
// work the next time.
func (o *overlapping) failed(err error) error {
	rejection := o.rejected("a version that has failed as a stand-in ("+err.Error()+")", err)
	if f, ok := err.(*standin.Failure); ok && f.Killed {
		rejection.Retryable = true
		return &drainedError{rejection}
	}
	return rejection
}

func (o *overlapping) rejected(found string, err error) *RejectedError {
	return &RejectedError{Path: o.path, Found: found, Expected: "a version that is ready in a process of its own; to retry this one, write it again", Err: err}
}

// startStandIn starts a stand-in of this process.
func (p *process) startStandIn(set *standin.Set, r *replacement) (x *standin.StandIn, err error) {
	times := r.times
	times.Quiesced, times.Drained = times.Judged, times.Judged
	h := p.newState(r.c, &times)
	h.ForStandIn = true
	err = p.image().Store.HandOver(h, func() error {
		return p.execImage(r.c, h, r.lastLook, r.prepared, func(target handover.Target, args, env []string, h *handover.State) (err error) {
			candidate.LeaseMu.Lock()
			defer candidate.LeaseMu.Unlock()
			x, err = set.Start(target, args, env, h)
			return err
		})
	})
	return x, err
}

// standIns returns the stand-ins of this process.
func (p *process) standIns() *standin.Set {
	p.beside.once.Do(func() {
		set := standin.Inherit(p.image())
		stored := besideSet(set)
		p.beside.set.Store(&stored)
		set.OnPresence(func(present bool) {
			if present {
				p.signals.forward(set.Forward)
			} else {
				p.signals.stopForwarding()
			}
		})
	})
	return (*p.beside.set.Load()).(*standin.Set)
}

// joinMain begins to do what the main process says, if this one is a stand-in.
func (p *process) joinMain() {
	if !p.isStandIn() {
		return
	}
	p.beside.joining.Do(func() {
		child := standin.Join(p.image())
		p.beside.child = child
		child.OnSignal(func(sig syscall.Signal) {
			if endsProcess(int(sig)) || p.signals.has(sig) {
				standin.Raise(sig)
			}
		})
	})
}

// besideReady is called when this image is ready.
func (p *process) besideReady() {
	if p.isStandIn() {
		p.joinMain()
		p.beside.child.Ready()
		return
	}
	p.standIns().Takeover()
}
