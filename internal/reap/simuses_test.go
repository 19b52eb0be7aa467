package reap

import (
	"context"
	"errors"
	"os"
	"slices"
	"syscall"
	"time"
)

// escalation returns a random one, of signals that come once each.
func (w *simWorld) escalation() (steps []Step) {
	for _, sig := range []syscall.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM, syscall.SIGKILL} {
		if w.Chance(2) {
			after := w.Duration(time.Second)
			if w.Chance(4) {
				after = 0
			}
			steps = append(steps, Step{sig, after.Truncate(simInstant)})
		}
	}
	return steps
}

// startReaper takes the children that are free and runs a Reaper for them.
func (w *simWorld) startReaper(steps []Step) {
	a := &simActor{simWorld: w, kind: byReaper, silent: w.Chance(4), steps: steps, reached: make([]time.Time, len(steps)), step: make(map[*simProcess]int)}
	skip := -1
	if w.Chance(4) && steps != nil {
		skip = w.IntN(w.pids)
	}
	w.start(a, func(ctx context.Context) {
		var pids []int
		for _, pid := range w.snapshot.TakeAll() {
			if pid%7 == skip%7 {
				w.snapshot.GiveBack(pid)
				continue
			}
			pids = append(pids, pid)
		}
		w.mu.Lock()
		a.began = time.Now()
		for _, pid := range pids {
			p := w.inherited[pid]
			if p == nil || p.custody != nil {
				w.fail("%v takes %d, which is not free", a, pid)
				continue
			}
			p.custody = a
			a.took = append(a.took, p)
		}
		w.Tracef("%v starts, silent %v, with %v, steps %v", a, a.silent, pids, steps)
		a.mayBeSlow = w.slowCalls
		w.mu.Unlock()
		var observer Observer
		if !a.silent {
			observer = simObserver{a}
		}
		a.err = w.snapshot.Reap(ctx, pids, steps, observer)
		w.reapEnded(a, ctx.Err() != nil, w.snapshot.Free())
	})
}

func (w *simWorld) startOrphans() {
	a := &simActor{simWorld: w, kind: byOrphans, silent: w.Chance(4)}
	w.start(a, func(ctx context.Context) {
		w.mu.Lock()
		w.Tracef("%v starts, silent %v", a, a.silent)
		w.mu.Unlock()
		w.mu.Lock()
		a.mayBeSlow = w.slowCalls
		unsupported := errors.Is(w.noPeek, errors.ErrUnsupported)
		w.mu.Unlock()
		var observer OrphanObserver
		if !a.silent {
			observer = simObserver{a}
		}
		a.err = w.snapshot.ReapOrphans(ctx, observer)
		w.mu.Lock()
		defer w.mu.Unlock()
		w.Tracef("%v ends, %v", a, a.err)
		a.ended = true
		if errors.Is(a.err, errors.ErrUnsupported) && unsupported {
			return
		}
		if ctx.Err() == nil || a.err != ctx.Err() {
			w.fail("%v returns %v", a, a.err)
		}
	})
}

// call has the program call a method of an adopted child.
func (w *simWorld) callAdopted(a *simActor, f func()) {
	w.mu.Lock()
	w.caller = a
	w.mu.Unlock()
	f()
	w.mu.Lock()
	w.caller = nil
	w.mu.Unlock()
}

// adopt adopts a child, and waits for it at once or later.
func (w *simWorld) adopt() {
	free := w.snapshot.Free()
	if len(free) == 0 || len(w.actors) > 150 {
		return
	}
	p := w.inherited[free[w.IntN(len(free))]]
	if p == nil || p.custody != nil {
		w.fail("%v of %v is free, which is not an inherited child", p, free)
		return
	}
	a := &simActor{simWorld: w, kind: byAdopted, child: p}
	w.actors = append(w.actors, a)
	a.n = time.Duration(len(w.actors))
	p.custody = a
	w.notef("the program adopts %v", p)
	ok := false
	w.callAdopted(a, func() { a.adopted, ok = w.snapshot.Adopt(p.pid) })
	if !ok {
		a.ended = true
		if w.notef("not to be had"); !p.waited || p.kept {
			w.fail("%v can't be adopted", p)
		}
		p.reports++
		return
	}
	if w.Chance(2) {
		w.waitAdopted(a)
	}
}

// waitAdopted has a goroutine wait for the child.
func (w *simWorld) waitAdopted(a *simActor) {
	a.running = true
	w.start(a, func(ctx context.Context) {
		e, err := a.adopted.Wait(ctx)
		w.mu.Lock()
		a.running = false
		released := a.gaveUp
		w.mu.Unlock()
		switch {
		case err == nil:
			w.reported(a, e)
			w.mu.Lock()
			a.ended, a.exit = true, e
			w.mu.Unlock()
		case errors.Is(err, os.ErrClosed) && released, err == ctx.Err():
			w.notef("%v: Wait returns %v", a, err)
		default:
			w.mu.Lock()
			w.fail("%v: Wait returns %v", a, err)
			w.mu.Unlock()
		}
	})
}

// useAdopted has the program signal the child, wait for it, end a wait, or give the child up.
func (w *simWorld) useAdopted(a *simActor) {
	switch w.IntN(4) {
	case 0:
		sig := []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL}[w.IntN(2)]
		var err error
		w.callAdopted(a, func() { err = a.adopted.Signal(sig) })
		if w.notef("%v: Signal returns %v", a, err); err == os.ErrProcessDone && !a.child.waited {
			w.fail("%v is done, and has not been waited for", a.child)
		}
	case 1:
		if !a.running {
			w.waitAdopted(a)
		}
	case 2:
		if a.running {
			w.cancel(a)
		}
	case 3:
		w.notef("%v is given up", a)
		a.gaveUp, a.ended = true, true
		a.child.custody = nil
		w.align(a)
		w.align(nil)
		w.callAdopted(a, func() {
			if err := a.adopted.Release(); err != nil {
				w.fail("%v: Release returns %v", a, err)
			}
		})
		if !slices.Contains(w.snapshot.Free(), a.child.pid) {
			w.fail("%v is not free", a.child)
		}
	}
}
