package autorestart

import (
	"context"
	"maps"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"
)

// child is a child process that somebody here has undertaken to wait for.
type child struct {
	pid  int
	fd   int              // its pidfd, which child owns, or noPidfd
	sent []syscall.Signal // what it was sent
	sure bool             // whether its PID was certainly still its own at the beginning
}

const noPidfd = -1

// reaping is one run of a Reaper: the children that it still waits for, all in
// the hands of one goroutine.
type reaping struct {
	*reports
	from     *inheritance
	children map[int]*child // by PID
	byPID    map[int]*child // of those, the ones that have to be asked one by one
	stuck    map[int]*child // and those whose pidfd says that they have exited, and waitid not yet
	since    uint64         // when this image was started: its own children are younger
	late     bool           // whether one of those can have come by a PID of the listing
	exits    *exits         // nil if no child was left alive
	sigchld  chan os.Signal // nil while every child has a pidfd

	escalation escalation
	due        []int // children that the present step has not reached yet
	signal     syscall.Signal

	lookAgain time.Time // when to ask byPID once more; zero if nothing has happened
	lookNext  time.Time // not before that
	askStuck  time.Time // when to ask stuck once more
}

// reap waits for the given children, which have been taken from h, and gives
// back to h those that are left when ctx ends.
func (r *Reaper) reap(ctx context.Context, h *inheritance, pids []int) error {
	if len(pids) == 0 {
		return nil
	}
	g := &reaping{
		reports:  startReports(r.Reaped, r.Logger),
		from:     h,
		children: make(map[int]*child),
		byPID:    make(map[int]*child),
		stuck:    make(map[int]*child),
	}
	defer g.end()
	steps := r.Escalation
	if steps == nil {
		steps = DefaultEscalation()
	}
	g.escalation = escalation{steps: steps, last: time.Now()}

	g.take(pids)
	return g.loop(ctx)
}

// take reaps the zombies among the children at once, which needs nothing but
// their PIDs, and arranges to be told of the exits of the others.
func (g *reaping) take(pids []int) {
	// A PID can't come back before its process has been waited for, which nobody
	// should have done. Whether it did is worth a look only if there was time.
	g.since = g.from.imageStart()
	g.late = mayBeReused(g.since)
	for len(pids) > 0 {
		n := len(pids)
		var sure []bool // of the first n
		if g.late {
			sure = g.from.certain(pids, len(g.children) < fewLiving)
			n = len(sure)
		}
		for i, pid := range pids[:n] {
			certain := !g.late || sure[i]
			if c := (child{pid: pid, fd: noPidfd}); !g.ask(&c, certain) {
				g.children[pid] = &child{pid: pid, fd: noPidfd, sure: certain}
			}
		}
		pids = pids[n:]
	}
	if len(g.children) == 0 {
		return
	}
	g.exits = newExits()
	for pid, c := range g.children {
		if !g.exits.watch(c) {
			c.release()
			g.byPID[pid] = c
		}
		// The PID may have come back as somebody else's process before the pidfd
		// was opened, which waitid on the pidfd tells, or long ago as a child of
		// our own, which its start time tells.
		if isForeign(c) || !c.sure && g.isReused(c) {
			g.lost(c)
			g.forget(c)
		}
	}
	g.began(len(g.children), len(g.byPID), g.from.by)
	if len(g.byPID) > 0 {
		g.sigchld = make(chan os.Signal, 1)
		notifyExits(g.sigchld)
		g.look() // for exits before that
	}
}

func (g *reaping) isReused(c *child) bool {
	if !g.late {
		return false
	}
	_, later := identify(c.pid, g.since)
	return later
}

// end lets go of everything that is held.
func (g *reaping) end() {
	if g.sigchld != nil {
		signal.Stop(g.sigchld)
	}
	for _, c := range g.children {
		c.release()
	}
	if g.exits != nil {
		g.exits.close()
	}
	g.from.giveBack(slices.Collect(maps.Keys(g.children))...)
	g.reports.close()
}

// loop reaps until no child is left or ctx ends.
func (g *reaping) loop(ctx context.Context) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for len(g.children) > 0 {
		if at, ok := g.wakeUp(); ok {
			timer.Reset(time.Until(at))
		} else {
			timer.Stop()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case pids := <-g.exits.ready:
			for _, pid := range pids {
				g.announced(pid)
			}
		case <-g.sigchld:
			g.reapFirst()
			g.lookAgain = g.lookNext
		case <-timer.C:
		}
		if err := ctx.Err(); err != nil {
			return err // and no more signals, even if one was due
		}
		g.late = true
		g.onTime(time.Now())
	}
	return nil
}

// wakeUp tells when there is something to do even if no child exits.
func (g *reaping) wakeUp() (at time.Time, ok bool) {
	if len(g.due) > 0 {
		return time.Time{}, true
	}
	at, ok = g.escalation.next()
	if !g.lookAgain.IsZero() && (!ok || g.lookAgain.Before(at)) {
		at, ok = g.lookAgain, true
	}
	if len(g.stuck) > 0 && (!ok || g.askStuck.Before(at)) {
		at, ok = g.askStuck, true
	}
	return at, ok
}

// stuckPause is how often a child is asked again whose pidfd says that it has
// exited and waitid that it has not: its tracer has to let go of it first, and
// not every kernel tells of that.
const stuckPause = 250 * time.Millisecond

func (g *reaping) onTime(now time.Time) {
	if !g.lookAgain.IsZero() && !now.Before(g.lookAgain) {
		g.look()
	}
	if len(g.stuck) > 0 && !now.Before(g.askStuck) {
		for _, c := range g.stuck {
			g.exited(c)
		}
		g.askStuck = now.Add(stuckPause)
	}
	if len(g.due) == 0 {
		if sig, ok := g.escalation.due(now); ok {
			g.signal = sig
			g.due = slices.Collect(maps.Keys(g.children))
		}
	}
	g.signalSome()
}

// signalSome sends the present step's signal to some of the children that it
// has to reach, and leaves the others for later, so that exits don't wait for
// thousands of signals.
func (g *reaping) signalSome() {
	n := min(len(g.due), 64)
	for _, pid := range g.due[:n] {
		if c := g.children[pid]; c != nil {
			g.send(c, g.signal)
		}
	}
	g.due = g.due[n:]
}

func (g *reaping) send(c *child, sig syscall.Signal) {
	if c.fd == noPidfd && g.isReused(c) {
		g.lost(c)
		g.forget(c)
		return
	}
	err := signalChild(c, sig)
	if err == os.ErrProcessDone {
		g.exited(c)
		return
	}
	if err == nil {
		c.sent = append(c.sent, sig)
		if sig != syscall.SIGKILL && mayBeStopped(c.pid) && signalChild(c, sigcont) == nil {
			c.sent = append(c.sent, sigcont)
		}
	}
	g.signalled(c.pid, sig, err)
}

// look asks every child that has no pidfd.
func (g *reaping) look() {
	g.lookAgain = time.Time{}
	began := time.Now()
	for _, c := range g.byPID {
		g.exited(c)
	}
	now := time.Now()
	g.lookNext = now.Add(scanPause(now.Sub(began)))
}

// reapFirst reaps the children that the kernel names first among the zombies of
// this process, for as long as they are ours, without a look at all the others.
func (g *reaping) reapFirst() {
	for {
		c := g.byPID[peekZombie()]
		if c == nil || !g.exited(c) {
			return
		}
	}
}

// announced is called when a pidfd says that its process has exited.
func (g *reaping) announced(pid int) {
	c := g.children[pid]
	if c == nil || g.exited(c) {
		return
	}
	if len(g.stuck) == 0 {
		g.askStuck = time.Now().Add(stuckPause)
	}
	g.stuck[pid] = c
}

// exited asks the child, and forgets it if it is gone.
func (g *reaping) exited(c *child) bool {
	if g.ask(c, c.fd != noPidfd || !g.late) {
		g.forget(c)
		return true
	}
	return false
}

func (g *reaping) forget(c *child) {
	delete(g.children, c.pid)
	delete(g.byPID, c.pid)
	delete(g.stuck, c.pid)
	c.release()
}

// ask asks the child once whether it has exited, and reports it if it is gone.
// If it is not sure that the PID is still the child's, it makes sure before it
// waits.
func (g *reaping) ask(c *child, sure bool) (gone bool) {
	var e *ChildExit
	if g.wanted || !sure {
		if c.fd == noPidfd && peekChild(c.pid) == waitRunning {
			return false
		}
		command, later := identify(c.pid, g.since)
		if later && !sure {
			g.lost(c)
			return true
		}
		// There is no name after the wait.
		e = &ChildExit{PID: c.pid, Command: command, Sent: c.sent}
	}
	switch g.from.wait(c, e) {
	case waitRunning:
		return false
	case waitNotOurs:
		g.lost(c)
	case waitExited:
		g.reaped(e)
	}
	return true
}

func (g *reaping) lost(c *child) {
	g.reaped(&ChildExit{PID: c.pid, Code: -1, Sent: c.sent, Lost: true})
}
