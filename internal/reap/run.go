package reap

import (
	"context"
	"maps"
	"os"
	"slices"
	"syscall"
	"time"
)

// run is one run of a Reaper: the children that it still waits for, all in the
// hands of one goroutine.
type run struct {
	from     *Snapshot
	observer Observer       // nil if there is none
	exit     Exit           // for the child that is looked at
	children map[int]*child // by PID
	byPID    map[int]*child // of those, the ones that have to be looked at one by one
	stuck    map[int]*child // and those that have exited by their pidfd and can't be waited for yet, or whose wait failed
	exits    *exits         // nil if no child was left alive

	someExit     <-chan os.Signal // nil while every child has a pidfd
	stopSomeExit func()

	escalation escalation
	due        []int // children that the present step has not reached yet
	signal     syscall.Signal

	nextScan  time.Time // when to look at byPID once more; zero if nothing has happened
	scanAfter time.Time // not before that
	nextStuck time.Time // when to look at stuck once more
}

// Reap waits for the given children, which have been taken from the snapshot, until
// none is left or ctx ends, and signals them according to steps. The children that
// are left are then free again. A nil observer receives nothing, and then the names
// of the children are not looked up, which takes several times as long as the rest.
func (s *Snapshot) Reap(ctx context.Context, pids []int, steps []Step, observer Observer) error {
	if len(pids) == 0 {
		return nil
	}
	r := &run{
		from:       s,
		observer:   observer,
		children:   make(map[int]*child),
		byPID:      make(map[int]*child),
		stuck:      make(map[int]*child),
		escalation: escalation{steps: steps, last: time.Now()},
	}
	defer r.end()
	r.reapZombies(pids)
	if len(r.children) > 0 {
		r.watchLiving()
	}
	return r.loop(ctx)
}

// reapZombies reaps the zombies among the children at once, which takes nothing but
// their PIDs. The others are then in r.children.
func (r *run) reapZombies(pids []int) {
	for len(pids) > 0 {
		vouched := r.from.vouch(pids, len(r.children))
		for i, belongs := range vouched {
			c := child{identity: identity{from: r.from, pid: pids[i], vouched: belongs}}
			if gone, _ := r.look(&c); !gone {
				r.children[c.pid] = &child{identity: c.identity}
			}
		}
		pids = pids[len(vouched):]
	}
}

// watchLiving arranges to be told of the exits of the children.
func (r *run) watchLiving() {
	r.exits = newExits(r.from.table)
	for _, pid := range inOrder(r.children) {
		c := r.children[pid]
		if !r.exits.watch(c) {
			c.release()
			r.byPID[pid] = c
		}
	}
	r.loseStrangers()
	if r.observer != nil {
		r.observer.Listed(len(r.children), len(r.byPID), r.from.by)
	}
	if len(r.byPID) > 0 {
		r.lookOneByOne()
	}
}

// loseStrangers drops the children whose PID has come to another process, before the pidfd was
// opened or long ago.
func (r *run) loseStrangers() {
	for pids := inOrder(r.children); len(pids) > 0; {
		vouched := r.from.vouch(pids, len(r.children))
		for i, belongs := range vouched {
			c := r.children[pids[i]]
			if c.vouched = belongs; !c.belongs() {
				r.lose(c)
			}
			c.vouched = false // that holds for a moment
		}
		pids = pids[len(vouched):]
	}
}

// lookOneByOne arranges to look at the children in byPID after the exit of any.
func (r *run) lookOneByOne() {
	if r.someExit == nil {
		r.someExit, r.stopSomeExit = r.from.table.NotifyExits()
	}
	r.scan() // for exits before that
}

// notAnnounced is called when the poller announces nothing any more.
func (r *run) notAnnounced() {
	if r.observer != nil {
		r.observer.NotAnnounced(r.exits.poller.Err())
	}
	r.exits.close()
	maps.Copy(r.byPID, r.children)
	r.lookOneByOne()
}

// end releases everything that is held.
func (r *run) end() {
	if r.stopSomeExit != nil {
		r.stopSomeExit()
	}
	pids := inOrder(r.children)
	for _, pid := range pids {
		r.children[pid].release()
	}
	if r.exits != nil {
		r.exits.close()
	}
	r.from.GiveBack(pids...)
}

// inOrder returns the keys of a map by PID. So a run can be repeated, but for what happens
// outside of it.
func inOrder[T any](byPID map[int]T) []int { return slices.Sorted(maps.Keys(byPID)) }

// loop reaps until no child is left or ctx ends.
func (r *run) loop(ctx context.Context) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for len(r.children) > 0 {
		if at, ok := r.wakeUp(); ok {
			timer.Reset(time.Until(at))
		} else {
			timer.Stop()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case pids, ok := <-r.exits.announced:
			if !ok {
				r.notAnnounced()
			}
			for _, pid := range pids {
				r.announced(pid)
			}
		case <-r.someExit:
			r.reapFirst()
			r.nextScan = r.scanAfter
		case <-timer.C:
		}
		if err := ctx.Err(); err != nil {
			return err // and no more signals, even if one was due
		}
		r.onTime(time.Now())
	}
	return nil
}

// wakeUp returns when there is something to do even if no child exits.
func (r *run) wakeUp() (at time.Time, ok bool) {
	if len(r.due) > 0 {
		return time.Time{}, true
	}
	at, ok = r.escalation.next()
	if !r.nextScan.IsZero() && (!ok || r.nextScan.Before(at)) {
		at, ok = r.nextScan, true
	}
	if len(r.stuck) > 0 && (!ok || r.nextStuck.Before(at)) {
		at, ok = r.nextStuck, true
	}
	return at, ok
}

func (r *run) onTime(now time.Time) {
	if !r.nextScan.IsZero() && !now.Before(r.nextScan) {
		r.scan()
	}
	if len(r.stuck) > 0 && !now.Before(r.nextStuck) {
		for _, pid := range inOrder(r.stuck) {
			r.reap(r.stuck[pid])
		}
		r.nextStuck = now.Add(stuckPause)
	}
	if len(r.due) == 0 {
		if sig, ok := r.escalation.due(now); ok {
			r.signal = sig
			r.due = inOrder(r.children)
		}
	}
	r.signalSome()
}

// signalSome sends the present step's signal to some of the children that it has to
// reach, and leaves the others for later, so that exits don't wait for thousands of
// signals.
func (r *run) signalSome() {
	n := min(len(r.due), 64)
	for _, pid := range r.due[:n] {
		if c := r.children[pid]; c != nil {
			r.send(c, r.signal)
		}
	}
	r.due = r.due[n:]
}

func (r *run) send(c *child, sig syscall.Signal) {
	err := c.signal(sig)
	switch err {
	case errLost:
		r.lose(c)
		return
	case os.ErrProcessDone:
		r.reap(c)
		return
	case nil:
		c.sent = append(c.sent, sig)
		cont := r.from.table.ContinueSignal()
		if sig != syscall.SIGKILL && c.mayBeStopped() && c.signal(cont) == nil {
			c.sent = append(c.sent, cont)
		}
	}
	if r.observer != nil {
		r.observer.Signalled(c.pid, sig, err)
	}
}

// scan looks at every child that has no pidfd.
func (r *run) scan() {
	r.nextScan = time.Time{}
	began := time.Now()
	for _, pid := range inOrder(r.byPID) {
		r.reap(r.byPID[pid])
	}
	now := time.Now()
	r.scanAfter = now.Add(scanPause(now.Sub(began)))
}

// reapFirst reaps the zombies that the kernel names first, for as long as they are
// in byPID, without a look at all the others.
func (r *run) reapFirst() {
	for {
		pid, _ := r.from.someZombie()
		c := r.byPID[pid]
		if c == nil || !r.reap(c) {
			return
		}
	}
}

// announced is called when a child has exited by its pidfd.
func (r *run) announced(pid int) {
	c := r.children[pid]
	if c != nil && !r.reap(c) {
		r.lookAgain(c)
	}
}

// lookAgain has the child looked at even if no exit is announced.
func (r *run) lookAgain(c *child) {
	if len(r.stuck) == 0 {
		r.nextStuck = time.Now().Add(stuckPause)
	}
	r.stuck[c.pid] = c
}

// reap looks at the child, and forgets it if it is gone.
func (r *run) reap(c *child) (gone bool) {
	gone, err := r.look(c)
	switch {
	case gone:
		r.forget(c)
	case err != nil:
		r.lookAgain(c)
	case r.byPID[c.pid] != nil:
		delete(r.stuck, c.pid) // it lives, and its exit is announced
	}
	return gone
}

// look looks once whether the child has exited, and reports it if it is gone.
func (r *run) look(c *child) (gone bool, err error) {
	var e *Exit
	if r.observer != nil {
		r.exit = Exit{PID: c.pid, Sent: c.sent}
		e = &r.exit
	}
	state, err := c.collect(e)
	switch {
	case err != nil || state == Running:
		return false, err
	case state == Exited:
		if r.observer != nil {
			r.observer.Reaped(*e)
		}
	default:
		r.reportLost(c)
	}
	return true, nil
}

// lose reports and forgets a child whose PID does not belong to it any more.
func (r *run) lose(c *child) {
	r.reportLost(c)
	r.forget(c)
}

func (r *run) reportLost(c *child) {
	if r.observer != nil {
		r.observer.Reaped(Exit{PID: c.pid, Code: -1, Sent: c.sent, Lost: true})
	}
}

func (r *run) forget(c *child) {
	delete(r.children, c.pid)
	delete(r.byPID, c.pid)
	delete(r.stuck, c.pid)
	c.release()
}
