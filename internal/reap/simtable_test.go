package reap

import (
	"cmp"
	"errors"
	"os"
	"runtime"
	"slices"
	"syscall"
	"time"
)

// simTable is what the policy sees of a simulated kernel: the truth, but for the calls that
// fail, or that something happens in.
type simTable struct{ *simWorld }

var _ Table = simTable{}

// simLimits are what a system lacks, or what a filter forbids.
type simLimits struct {
	noPidfd, noPidfdWait, noPidfdSignal, noPoller error
	noPeek, noWait                                error
	noProc, noChildrenFile                        error
	hidepid                                       bool
	failing                                       int // one in so many calls that need memory or a descriptor fails, none if 0
}

// passing are the errors of calls that need memory or a descriptor.
var passing = []error{syscall.EMFILE, syscall.ENOMEM, syscall.EINTR}

// maxCallsAtOnce is how many calls there may be while no time passes.
const maxCallsAtOnce = 50_000

// call begins a call. It returns the error by which the call fails.
func (t simTable) call(name string, id int, mayFail bool, limits ...error) error {
	a := t.actor()
	t.Tracef("%v: %s(%d)", a, name, id)
	t.calls++
	if now := time.Now(); a != nil && a.latest != now {
		a.active, a.latest = now, now
	}
	if now := time.Now(); now != t.callsFrom {
		t.callsFrom, t.callsAtOnce = now, 0
	}
	if t.callsAtOnce++; t.callsAtOnce > maxCallsAtOnce {
		t.fail("%v spins", a)
		runtime.Goexit()
	}
	if t.inCalls > 0 && t.Chance(t.inCalls) {
		t.something()
	}
	if a != nil && a.mayBeSlow && name != "Threads" && name != "ThreadStart" && t.Chance(40) {
		t.slow(a)
	}
	err := cmp.Or(limits...)
	if err == nil && mayFail && t.failing > 0 && t.Chance(t.failing) {
		err = passing[t.IntN(len(passing))]
	}
	if err != nil {
		t.Tracef("  %v", err)
	}
	return err
}

// slow lets time pass in a call, as if the process had been stopped. The policy must not hold a
// lock then that another goroutine waits for: that stops the clock.
func (t simTable) slow(a *simActor) {
	d := t.Duration(20*time.Millisecond).Truncate(simInstant) + simInstant
	t.Tracef("  takes %v", d)
	a.busy = true
	t.mu.Unlock()
	time.Sleep(d)
	t.mu.Lock()
	a.busy, a.latest = false, time.Now()
}

func (t simTable) answer(state State, p *simProcess) State {
	t.Tracef("  %s %v", [...]string{"Running", "Exited", "NotOurs"}[state], p)
	return state
}

func (t simTable) PeekAny() (int, State, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.call("PeekAny", 0, false, t.noPeek); err != nil {
		return 0, NotOurs, err
	}
	if p := t.pick(func(p *simProcess) bool { return p.tracee && p.stopped }); p != nil {
		return 0, Running, errors.New("a tracee has stopped")
	}
	if p := t.firstZombie(); p != nil {
		return p.pid, t.answer(Exited, p), nil
	}
	if t.pick(t.mine) == nil {
		return 0, NotOurs, nil
	}
	return 0, Running, nil
}

func (t simTable) Peek(pid int) (State, error) {
	if pid >= t.pids { // there are none, and many are looked at where there is no list
		return NotOurs, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.call("Peek", pid, false, t.noPeek); err != nil {
		return NotOurs, err
	}
	p := t.processes[pid]
	return t.answer(t.look(p), p), nil
}

func (t simTable) PeekDescriptor(fd int) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.call("PeekDescriptor", fd, false, t.noPeek, t.noPidfdWait); err != nil {
		return 0, err
	}
	d := t.descriptors[fd]
	if d == nil {
		return 0, syscall.EBADF
	}
	switch t.look(d.p) {
	case Exited:
		return d.p.pid, nil
	case Running:
		return 0, nil
	default:
		return 0, syscall.Errno(10) // ECHILD
	}
}

func (t simTable) Kin(pid int) Kin {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.call("Kin", pid, false, t.noPeek) != nil {
		return UnknownKin
	}
	switch p := t.processes[pid]; {
	case p != nil && p.tracee:
		return Traced
	case p != nil && p.cloned:
		return Cloned
	default:
		return Child
	}
}

func (t simTable) Wait(pid int, e *Exit) (State, error) {
	if pid >= t.pids {
		return NotOurs, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.call("Wait", pid, false, t.noWait); err != nil {
		return NotOurs, err
	}
	return t.waitFor(t.processes[pid], e), nil
}

// WaitAny is there where nothing better is.
func (t simTable) WaitAny(e *Exit) (State, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.poor {
		return Unsupported{}.WaitAny(e)
	}
	if err := t.call("WaitAny", 0, false, t.noWait); err != nil {
		return NotOurs, err
	}
	p := t.firstZombie()
	if p == nil && t.pick(t.mine) != nil {
		return Running, nil
	}
	return t.waitFor(p, e), nil
}

func (t simTable) waitFor(p *simProcess, e *Exit) State {
	state := t.look(p)
	if state == Exited {
		t.waitedFor(t.actor(), p)
		t.wait(p)
		if e != nil {
			e.PID, e.Code, e.Signal, e.CoreDump = p.pid, p.status.Code, p.status.Signal, p.status.CoreDump
		}
	}
	return t.answer(state, p)
}

func (t simTable) Kill(pid int, sig syscall.Signal) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.send("Kill", t.processes[pid], pid, sig, nil)
}

func (t simTable) send(call string, p *simProcess, id int, sig syscall.Signal, limit error) error {
	err := t.call(call, id, false, limit)
	switch {
	case err != nil:
		return err
	case p == nil || p.waited:
		return os.ErrProcessDone
	case p.foreign:
		err = syscall.EPERM
	}
	t.Tracef("  %v for %v: %v", sig, p, err)
	stopped := p.stopped
	t.signalled(t.actor(), p, sig, err, stopped)
	if err == nil {
		t.signal(p, sig)
	}
	return err
}

// simDescriptor is an open pidfd, of the program if it has no owner.
type simDescriptor struct {
	simTable
	fd    int
	p     *simProcess
	owner *simActor
}

// open opens a pidfd, nil if there is no descriptor.
func (w *simWorld) open(p *simProcess, owner *simActor) *simDescriptor {
	fd := 3
	for w.descriptors[fd] != nil {
		fd++
	}
	if fd >= w.openFiles {
		return nil
	}
	d := &simDescriptor{simTable{w}, fd, p, owner}
	w.descriptors[fd] = d
	return d
}

func (t simTable) Open(pid int) (Pidfd, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.call("Open", pid, true, t.noPidfd); err != nil {
		return nil, err
	}
	if t.inCalls > 0 && t.Chance(8) {
		t.comesBack(pid)
	}
	p := t.processes[pid]
	if p == nil {
		return nil, os.ErrProcessDone
	}
	d := t.open(p, t.actor())
	if d == nil {
		return nil, syscall.EMFILE
	}
	t.Tracef("  descriptor %d of %v", d.fd, p)
	return d, nil
}

func (d *simDescriptor) FD() int { return d.fd }

func (d *simDescriptor) Peek() (State, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.call("Pidfd.Peek", d.fd, false, d.noPeek, d.noPidfdWait); err != nil {
		return NotOurs, err
	}
	return d.answer(d.look(d.p), d.p), nil
}

func (d *simDescriptor) Wait(e *Exit) (State, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.call("Pidfd.Wait", d.fd, false, d.noPeek, d.noPidfdWait); err != nil {
		return NotOurs, err
	}
	return d.waitFor(d.p, e), nil
}

func (d *simDescriptor) Signal(sig syscall.Signal) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.send("Pidfd.Signal", d.p, d.fd, sig, d.noPidfdSignal)
}

func (d *simDescriptor) Close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.Tracef("%v: Close(%d)", d.actor(), d.fd)
	d.close()
}

func (d *simDescriptor) close() {
	if d.descriptors[d.fd] == d {
		delete(d.descriptors, d.fd)
	}
}

func (t simTable) OwnNumbers() bool { return t.noProc == nil }

func (t simTable) Stat(pid int) (Stat, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.call("Stat", pid, true, t.noProc); err != nil {
		return Stat{}, err
	}
	p := t.processes[pid]
	if p == nil || t.hidepid && p.foreign {
		return Stat{}, syscall.ENOENT
	}
	stat := Stat{Command: p.name, State: 'S', Session: p.session, Start: p.start}
	if p.parent != nil {
		stat.Parent = p.parent.pid
	}
	switch {
	case p.exited || p.headless:
		stat.State = Zombie
	case p.stopped && (p.held || p.tracee):
		stat.State = StoppedByTracer
	case p.stopped:
		stat.State = Stopped
	}
	return stat, nil
}

func (t simTable) Args(pid int) ([]string, error) { return nil, t.noProc }

func (t simTable) PIDs() (pids []int, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	err = t.call("PIDs", 0, true, t.noProc)
	if t.hidepid {
		err = syscall.EPERM
	}
	for pid := range t.pids {
		if t.processes[pid] != nil {
			pids = append(pids, pid)
		}
	}
	return pids, err
}

func (t simTable) Threads() ([]int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	err := t.call("Threads", 0, true, t.noProc)
	return slices.Clone(t.threads), err
}

func (t simTable) ThreadStart(tid int) (uint64, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	err := t.call("ThreadStart", tid, true, t.noProc)
	if tid == t.threads[1] {
		return t.imageTick, err
	}
	return t.usedAt[tid], err
}

func (t simTable) ChildrenOf(tid int) ([]int, error) {
	return t.readChildren("ChildrenOf", tid, t.pids)
}

func (t simTable) FirstChildrenOf(tid int) ([]int, error) {
	return t.readChildren("FirstChildrenOf", tid, 4)
}

func (t simTable) readChildren(call string, tid, most int) ([]int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.call(call, tid, true, t.noProc, t.noChildrenFile); err != nil {
		return nil, err
	}
	pids := t.listed(tid)
	if len(pids) > 1 && t.inCalls > 0 && t.Chance(4) && t.programWaits() {
		i := t.IntN(len(pids))
		t.Tracef("  misses %d", pids[i])
		pids = slices.Delete(pids, i, i+1)
	}
	t.Tracef("  %v", pids)
	return pids[:min(most, len(pids))], nil
}

func (t simTable) Session(pid int) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.call("Session", pid, false); err != nil {
		return 0, err
	}
	p := t.self
	if pid != 0 {
		p = t.processes[pid]
	}
	if p == nil {
		return 0, syscall.ESRCH
	}
	return p.session, nil
}

func (t simTable) Now() uint64              { return t.tick() }
func (t simTable) Time(uint64) time.Time    { return time.Time{} }
func (t simTable) PID() int                 { return t.self.pid }
func (t simTable) NewestPID() (int, error)  { return t.pids, nil }
func (t simTable) SetSubreaper(bool) error  { return nil }
func (t simTable) Subreaper() (bool, error) { return t.subreaper, nil }
func (t simTable) StartedByPidfd() bool     { return t.byPidfd }
func (t simTable) DescriptorsEnd() (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.openFiles, t.call("DescriptorsEnd", 0, true, t.noProc)
}

func (t simTable) OpenFilesLimit() (_, _ uint64, _ error) {
	return uint64(t.openFiles), uint64(t.openFiles), nil
}

// CPUTime is a microsecond for each call.
func (t simTable) CPUTime() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	return time.Duration(t.calls) * time.Microsecond
}

func (t simTable) ContinueSignal() syscall.Signal { return simCONT }
