package reap

import (
	"os"
	"slices"
	"syscall"
	"testing/synctest"
	"time"
)

// simInstant is what all that happens in a simulation is a multiple of, but for the few
// nanoseconds by which each goroutine of the policy is behind that. So only one of them runs
// at a time, and the clock says which.
const simInstant = 200 * time.Nanosecond

// simDelivery is an announcement of an exit on its way to an actor.
type simDelivery struct {
	at      time.Time
	to      *simActor
	deliver func() bool // false if it has to be tried again
}

// post has something delivered after a while. Half of it comes at once.
func (w *simWorld) post(to *simActor, deliver func() bool) {
	at := time.Now()
	if w.Chance(2) {
		at = at.Add(w.Duration(30 * time.Millisecond))
	}
	w.postAt(&simDelivery{at, to, deliver})
}

func (w *simWorld) postAt(d *simDelivery) {
	i := len(w.deliveries)
	for i > 0 && w.deliveries[i-1].at.After(d.at) {
		i--
	}
	w.deliveries = slices.Insert(w.deliveries, i, d)
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// advance lets time pass, and delivers what is due.
func (w *simWorld) advance(until time.Time) {
	for w.failure == "" {
		next := until
		w.mu.Lock()
		if len(w.deliveries) > 0 && w.deliveries[0].at.Before(next) {
			next = w.deliveries[0].at
		}
		w.mu.Unlock()
		if d := time.Until(next); d > 0 {
			select {
			case <-time.After(d):
			case <-w.wake:
			}
			synctest.Wait()
			w.check()
			continue
		}
		w.mu.Lock()
		if len(w.deliveries) == 0 || w.deliveries[0].at.After(time.Now()) {
			w.mu.Unlock()
			break
		}
		d := w.deliveries[0]
		w.deliveries = w.deliveries[1:]
		w.mu.Unlock()
		w.deliver(d)
	}
	w.align(nil)
}

func (w *simWorld) deliver(d *simDelivery) {
	w.align(d.to)
	w.mu.Lock()
	busy, ended := d.to.busy, d.to.ended
	w.mu.Unlock()
	if ended {
		return
	}
	if busy || !d.deliver() {
		w.mu.Lock()
		d.at = time.Now().Add(time.Millisecond)
		w.postAt(d)
		w.mu.Unlock()
		return
	}
	synctest.Wait()
	w.check()
}

// align waits for an instant of the actor, or of the program.
func (w *simWorld) align(to *simActor) {
	n := time.Duration(0)
	if to != nil {
		n = to.n
	}
	if d := (n - w.residue() + simInstant) % simInstant; d > 0 {
		time.Sleep(d)
	}
	synctest.Wait()
	w.check()
}

func (w *simWorld) residue() time.Duration { return time.Since(w.Start) % simInstant }

// actor returns the part of the policy that runs at this instant.
func (w *simWorld) actor() *simActor {
	n := w.residue()
	if n == 0 {
		return w.caller
	}
	for _, a := range w.actors {
		if a.n == n {
			return a
		}
	}
	w.fail("a call at an instant %v that is not of an actor", n)
	return w.caller
}

// simListener receives for all exits, one value for those that come together.
type simListener struct {
	c      chan os.Signal
	owner  *simActor
	posted bool
}

func (t simTable) NotifyExits() (<-chan os.Signal, func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := &simListener{c: make(chan os.Signal, 1), owner: t.actor()}
	t.Tracef("%v: NotifyExits", l.owner)
	t.listeners = append(t.listeners, l)
	return l.c, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.listeners = slices.DeleteFunc(t.listeners, func(other *simListener) bool { return other == l })
	}
}

// simPoller announces exits of the processes of pidfds.
type simPoller struct {
	simTable
	c       chan []int
	owner   *simActor
	entries []simEntry
	closed  bool
}

type simEntry struct {
	d   *simDescriptor
	pid int
}

func (t simTable) NewPoller() (Poller, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.call("NewPoller", 0, true, t.noPoller); err != nil {
		return nil, err
	}
	p := &simPoller{simTable: t, c: make(chan []int), owner: t.actor()}
	t.pollers = append(t.pollers, p)
	return p, nil
}

func (p *simPoller) Add(fd Pidfd, pid int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.call("Poller.Add", pid, true); err != nil {
		return err
	}
	e := simEntry{fd.(*simDescriptor), pid}
	p.entries = append(p.entries, e)
	if e.d.p.exited {
		p.announce(e)
	}
	return nil
}

// announce posts the exit, sometimes with another one, sometimes twice.
func (p *simPoller) announce(e simEntry) {
	for range 1 + p.IntN(8)/7 {
		pids := []int{e.pid}
		if other := p.entries[p.IntN(len(p.entries))]; other.d.p.exited && p.Chance(2) {
			pids = append(pids, other.pid)
		}
		p.post(p.owner, func() bool {
			p.mu.Lock()
			closed := p.closed
			p.Tracef("%v is told of the exits of %v", p.owner, pids)
			p.mu.Unlock()
			if closed {
				return true
			}
			select {
			case p.c <- pids:
				return true
			default:
				return false
			}
		})
	}
}

// failPoller ends the announcements as an error of the system does.
func (w *simWorld) failPoller(p *simPoller) {
	w.align(p.owner)
	w.mu.Lock()
	if !p.closed && !p.owner.busy {
		w.Tracef("the poller of %v fails", p.owner)
		p.closed, p.entries = true, nil
		close(p.c)
	}
	w.mu.Unlock()
	synctest.Wait()
}

func (p *simPoller) Exited() <-chan []int { return p.c }
func (p *simPoller) Err() error           { return syscall.ENOMEM }

func (p *simPoller) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed, p.entries = true, nil
	p.pollers = slices.DeleteFunc(p.pollers, func(other *simPoller) bool { return other == p })
}

// announced has the pollers and listeners announce an exit.
func (w *simWorld) announced(p *simProcess, bySignal, byPidfd bool) {
	for _, poller := range w.pollers {
		if !byPidfd {
			break
		}
		for _, e := range poller.entries {
			if e.d.p == p && w.descriptors[e.d.fd] == e.d {
				poller.announce(e)
			}
		}
	}
	for _, l := range w.listeners {
		if !bySignal || l.posted {
			continue
		}
		l.posted = true
		w.post(l.owner, func() bool {
			w.mu.Lock()
			l.posted = false
			w.Tracef("%v is told of an exit", l.owner)
			w.mu.Unlock()
			select {
			case l.c <- syscall.Signal(17):
			default:
			}
			return true
		})
	}
}
