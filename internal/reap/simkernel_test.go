package reap

import (
	"cmp"
	"fmt"
	"slices"
	"syscall"
	"time"

	"github.com/autorestart-go/autorestart/internal/simulation"
)

// simProcess is a process of a simulated kernel. The fields are what is true of it, whatever
// the kernel shows of that.
type simProcess struct {
	name   string // its PID, and how many had that before
	pid    int
	parent *simProcess
	whose  simOwner

	children []*simProcess // in the order in which they came
	thread   int           // of the parent, that has it in its list of children
	session  int
	start    uint64 // tick

	foreign  bool // of another user: it can't be signalled, and hidepid hides it
	cloned   bool // it does not announce its exit by SIGCHLD
	tracee   bool // of the process that is simulated
	held     bool // by another tracer
	stopped  bool
	headless bool // its first thread has exited, others live
	endures  int  // so many signals

	exited, waited bool
	status         Exit

	// What the oracle keeps of it.
	custody  *simActor // that has taken it
	waitedBy *simActor
	kept     bool // by the listing, which had to wait for it
	reports  int
}

// simOwner says whose a process is: who may signal it, and wait for it.
type simOwner int

const (
	stranger  simOwner = iota // a child of another process
	inherited                 // a child that the image before has left
	own                       // a child that this image has started
	released                  // one that os/exec has released: it is not waited for
	ofOthers                  // an orphan
)

func (p *simProcess) String() string {
	if p == nil {
		return "none"
	}
	return p.name
}

// zombie reports whether the parent sees it as one.
func (p *simProcess) zombie() bool { return p.exited && !p.waited && !p.held }

// simKernel has the true facts of a system, in which one process runs the policy.
type simKernel struct {
	*simulation.Schedule
	self      *simProcess
	processes map[int]*simProcess // by PID, without those that were waited for
	threads   []int               // of self, the main one first
	uses      map[int]int         // of PIDs, so far
	usedAt    map[int]uint64      // the tick in which a PID was given out or became free
	freed     []int               // since then no PID comes back, see settlePIDs
	ascending int                 // the next PID; 0 when PIDs have begun again
	pids      int                 // there are no more than that
	imageTick uint64
	subreaper bool

	mayComeBack func(pid int) bool

	// exits is called for each exit, to announce it by SIGCHLD, by pidfds or by both.
	exits func(p *simProcess, bySignal, byPidfd bool)
}

const simFirstTick = 1000

func newSimKernel(s *simulation.Schedule) *simKernel {
	k := &simKernel{
		Schedule:  s,
		processes: make(map[int]*simProcess),
		uses:      make(map[int]int),
		usedAt:    make(map[int]uint64),
		pids:      30 + s.IntN(30),
	}
	k.self = &simProcess{name: "self", pid: 1}
	if s.Chance(2) {
		k.self.pid, k.subreaper = 5, true
	}
	k.self.session = []int{k.self.pid, 3, 0}[s.IntN(3)]
	k.ascending = k.self.pid + 1
	k.processes[k.self.pid] = k.self
	k.threads = []int{k.self.pid}
	return k
}

// tick is the clock of start times.
func (k *simKernel) tick() uint64 {
	return simFirstTick + uint64(time.Since(k.Start)/(10*time.Millisecond))
}

// newThread starts a thread of self.
func (k *simKernel) newThread() {
	if tid := k.newPID(); tid != 0 {
		k.threads = append(k.threads, tid)
	}
}

// endThread ends one, not the main nor the oldest of the others. Its children go to the main thread.
func (k *simKernel) endThread(i int) {
	tid := k.threads[i]
	k.threads = slices.Delete(k.threads, i, i+1)
	var left, moved []*simProcess
	for _, p := range k.self.children {
		if p.thread == tid {
			p.thread = k.self.pid
			moved = append(moved, p)
		} else {
			left = append(left, p)
		}
	}
	k.self.children = append(left, moved...)
	k.free(tid)
	k.Tracef("thread %d ends, with children %v", tid, moved)
}

// newPID gives out a PID, 0 if there is none. In one tick a system does not get through all
// PIDs, nor in the tick in which the image was started, nor within one look of the policy.
func (k *simKernel) newPID() int {
	if k.ascending != 0 {
		if k.ascending < k.pids {
			k.ascending++
			return k.take(k.ascending - 1)
		}
		return 0
	}
	var found []int
	for pid := 2; pid < k.pids; pid++ {
		if k.isFree(pid) && k.mayComeBack(pid) && !slices.Contains(k.freed, pid) && k.usedAt[pid] < k.tick() {
			found = append(found, pid)
		}
	}
	if len(found) == 0 || k.tick() == k.imageTick {
		return 0
	}
	if k.Chance(2) { // the one that was free for the shortest time
		return k.take(slices.MaxFunc(found, func(a, b int) int {
			return cmp.Or(cmp.Compare(k.usedAt[a], k.usedAt[b]), b-a)
		}))
	}
	return k.take(found[k.IntN(len(found))])
}

// isFree reports whether a number is neither that of a process, nor of a thread, nor of a session.
func (k *simKernel) isFree(pid int) bool {
	if k.processes[pid] != nil || slices.Contains(k.threads, pid) || pid == 3 {
		return false
	}
	for other := range k.pids {
		if p := k.processes[other]; p != nil && p.session == pid {
			return false
		}
	}
	return true
}

func (k *simKernel) take(pid int) int {
	k.uses[pid]++
	k.usedAt[pid] = k.tick()
	return pid
}

func (k *simKernel) free(pid int) {
	k.usedAt[pid] = k.tick()
	k.freed = append(k.freed, pid)
}

// settlePIDs is called when no part of the policy is looking.
func (k *simKernel) settlePIDs() { k.freed = k.freed[:0] }

// fork makes a process, nil if there is no PID.
func (k *simKernel) fork(parent *simProcess, thread int, whose simOwner) *simProcess {
	if pid := k.newPID(); pid != 0 {
		return k.forkAs(pid, parent, thread, whose)
	}
	return nil
}

func (k *simKernel) forkAs(pid int, parent *simProcess, thread int, whose simOwner) *simProcess {
	p := &simProcess{
		name:    fmt.Sprintf("%d%c", pid, 'a'+rune(k.uses[pid]-1)%26),
		pid:     pid,
		parent:  parent,
		whose:   whose,
		thread:  thread,
		session: parent.session,
		start:   k.tick(),
		endures: max(0, k.IntN(8)-3),
	}
	k.processes[pid] = p
	parent.children = append(parent.children, p)
	return p
}

// exit ends a process. Its children come to self.
func (k *simKernel) exit(p *simProcess, code int, sig syscall.Signal, core bool) {
	p.exited, p.stopped, p.headless = true, false, false
	p.status = Exit{PID: p.pid, Code: code, Signal: sig, CoreDump: core}
	k.exits(p, !p.held && (p.parent == k.self || p.tracee), true)
	for _, c := range p.children {
		c.parent, c.thread, c.cloned = k.self, k.self.pid, false
		if c.whose == stranger {
			c.whose = ofOthers
		}
		k.self.children = append(k.self.children, c)
		k.Tracef("%v is an orphan of %v", c, p)
		if c.zombie() {
			k.exits(c, true, false)
		}
	}
	p.children = nil
}

// letGo is the end of another process's trace. Not every kernel has pidfds announce it.
func (k *simKernel) letGo(p *simProcess) {
	if p.held = false; p.exited {
		k.exits(p, p.parent == k.self, k.Chance(2))
	}
}

// wait takes a zombie away.
func (k *simKernel) wait(p *simProcess) {
	p.waited = true
	delete(k.processes, p.pid)
	p.parent.children = slices.DeleteFunc(p.parent.children, func(c *simProcess) bool { return c == p })
	k.free(p.pid)
}

// signal is what a signal does to a process.
func (k *simKernel) signal(p *simProcess, sig syscall.Signal) {
	switch {
	case p.exited:
	case sig == simCONT:
		p.stopped = false
	case sig == syscall.SIGKILL, !p.stopped && p.endures == 0:
		k.exit(p, -1, sig, false)
	case !p.stopped:
		p.endures--
	}
}

const simCONT = syscall.Signal(18)

// mine reports whether waitid(2) finds the process: a child, or a tracee.
func (k *simKernel) mine(p *simProcess) bool {
	return p != nil && !p.waited && (p.parent == k.self || p.tracee)
}

// look is what waitid(2) says of a process.
func (k *simKernel) look(p *simProcess) State {
	switch {
	case !k.mine(p):
		return NotOurs
	case p.zombie():
		return Exited
	default:
		return Running
	}
}

// listed returns the children in a thread's list.
func (k *simKernel) listed(tid int) (pids []int) {
	for _, p := range k.self.children {
		if p.thread == tid {
			pids = append(pids, p.pid)
		}
	}
	return pids
}

// firstZombie is the one that waitid(2) finds first.
func (k *simKernel) firstZombie() *simProcess {
	for _, tid := range k.threads {
		for _, p := range k.self.children {
			if p.thread == tid && p.zombie() {
				return p
			}
		}
	}
	for pid := range k.pids {
		if p := k.processes[pid]; p != nil && p.tracee && p.zombie() {
			return p
		}
	}
	return nil
}

// pick returns one of the processes for which is reports true, nil if there is none.
func (k *simKernel) pick(is func(*simProcess) bool) *simProcess {
	var found []*simProcess
	for pid := range k.pids {
		if p := k.processes[pid]; p != nil && p != k.self && is(p) {
			found = append(found, p)
		}
	}
	if len(found) == 0 {
		return nil
	}
	return found[k.IntN(len(found))]
}
