//go:build !autorestart_portable

package autorestart

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"slices"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// evidence is what is known of a zombie child of this process.
type evidence struct {
	pid     int
	older   bool   // it was started before this image
	session int    // 0 also for one outside of our PID namespace, -1 if not known
	ours    [2]int // the sessions that this process has been in since it started children
	place   place
}

// place is where the kernel lists a child.
type place int

const (
	placeUnknown place = iota // there are no lists
	placeMain                 // with the main thread
	placeOther                // with another thread
	placeMissed               // nowhere: the lists have changed while they were read
)

// verdict says whose a zombie is.
type verdict int

const (
	ofNobody verdict = iota // an orphan; nobody here waits for it
	ofOurs                  // a child that this image has started
	unless                  // an orphan, unless somebody here holds a pidfd for it
	again                   // can't be said now
)

// whose decides without looking at descriptors if it can.
//
// A process begins in its parent's session, and the only other one that it can
// ever get into is its own, which has its PID for a number. So a zombie of a
// third session was started by somebody else. And the kernel hands orphans to
// the first living thread, the main thread in a Go program, whose list they come
// into; in another thread's list are only those that this thread has started.
func whose(e evidence) verdict {
	switch {
	case e.older:
		return ofNobody
	case e.session >= 0 && e.session != e.pid && !slices.Contains(e.ours[:], e.session):
		return ofNobody
	case e.place == placeOther:
		return ofOurs
	case e.place == placeMissed:
		return again
	default:
		return unless
	}
}

// sessionAtStart is the session in which this image began. It can change once,
// by setsid(2).
var sessionAtStart = ownSession()

func ownSession() int {
	sid, err := unix.Getsid(0)
	if err != nil {
		return -1
	}
	return sid
}

// orphanage is one run of Orphans.
type orphanage struct {
	*reports
	from    *inheritance
	listed  map[int]bool // what from lists
	left    func(Child)
	pidfds  bool // whether os/exec's children can be told by their pidfds
	pending map[int]*zombie
	since   uint64    // when this image was started, in ticks
	next    time.Time // when the zombies may be looked at again
	list    time.Time // when all of them may be
	sweep   time.Time // when the descriptors may be looked at again
}

// zombie is one that is not an orphan beyond doubt.
type zombie struct {
	ask   time.Time     // when to look at it again; zero for never
	again time.Duration // and if that changes nothing, how long after that
	fresh bool          // nothing but its session has been looked at yet
	fds   bool          // what is left to look at are the descriptors
}

const (
	// A zombie that os/exec waits for is gone in no time. Only one that stays is
	// worth a look that costs something.
	settle = 10 * time.Millisecond
	// Whoever holds a pidfd may release it without waiting.
	believeFirst, believeLast = time.Second, time.Minute
	// For how long to leave zombies alone after a look that took long.
	longestPause = 2 * time.Second
	// How many zombies to hold by pidfd at a time.
	maxHeld = 256
)

func (o *Orphans) run(ctx context.Context) error {
	undo, err := o.becomeReaper()
	if err != nil {
		return err
	}
	defer undo()

	tell := o.Reaped
	if tell == nil && o.Undecided != nil {
		tell = func(ChildExit) {}
	}
	g := &orphanage{
		reports: startReports(tell, o.Logger),
		from:    inheritedChildren,
		listed:  make(map[int]bool),
		left:    o.Undecided,
		since:   inheritedChildren.imageStart(),
		pidfds:  processesHavePidfds(),
		pending: make(map[int]*zombie),
	}
	defer g.reports.close()
	g.from.settle()
	for _, pid := range g.from.all {
		g.listed[pid] = true
	}
	if !g.pidfds {
		g.add(func() {
			g.logger.Warn("no pidfds: some orphans will be left, because they can't be told from children")
		})
	}

	sigchld := make(chan os.Signal, 1)
	notifyExits(sigchld)
	defer signal.Stop(sigchld)
	timer := time.NewTimer(0) // what died before
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-sigchld:
			if wait := time.Until(g.next); wait > 0 {
				timer.Reset(wait)
				continue
			}
		case <-timer.C:
		}
		began := time.Now()
		g.look(began)
		now := time.Now()
		took := now.Sub(began)
		// Nobody waits for an orphan. But what took long may have waited for a CPU.
		g.next = now.Add(max(scanPause(took), min(20*took, longestPause)))
		if at, ok := g.wakeUp(); ok {
			timer.Reset(max(time.Until(at), time.Until(g.next)))
		} else {
			timer.Stop()
		}
	}
}

// subreaping counts the runs for which this process has become a child subreaper:
// the last of them that ends is the one that takes it back.
var subreaping struct {
	mu   sync.Mutex
	runs int
}

// becomeReaper makes sure that orphans come to this process.
func (o *Orphans) becomeReaper() (undo func(), err error) {
	subreaping.mu.Lock()
	defer subreaping.mu.Unlock()
	var already int32
	unix.Prctl(unix.PR_GET_CHILD_SUBREAPER, uintptr(unsafe.Pointer(&already)), 0, 0, 0)
	switch {
	case o.Subreaper && subreaping.runs > 0:
	case already != 0 || unix.Getpid() == 1:
		return func() {}, nil
	case !o.Subreaper:
		return nil, &os.SyscallError{Syscall: "neither process 1 nor a child subreaper", Err: errors.ErrUnsupported}
	default:
		if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
			return nil, os.NewSyscallError("prctl", err)
		}
	}
	subreaping.runs++
	return func() {
		subreaping.mu.Lock()
		defer subreaping.mu.Unlock()
		if subreaping.runs--; subreaping.runs == 0 {
			unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
		}
	}, nil
}

// processesHavePidfds reports whether package os keeps a pidfd for every process
// that it starts.
func processesHavePidfds() bool {
	p, err := os.FindProcess(unix.Getpid())
	if err != nil {
		return false
	}
	defer p.Release()
	return p.WithHandle(func(uintptr) {}) == nil
}

// look reaps what can be reaped now.
func (g *orphanage) look(now time.Time) {
	// The kernel shows one zombie at a time, the same until it is gone. As long as
	// those are orphans, or there are none, no list has to be read.
	for {
		pid := peekZombie()
		if pid == 0 {
			clear(g.pending)
			return
		}
		if z := g.pending[pid]; pid < 0 || z != nil && !z.fresh {
			break
		} else if z != nil || !g.meet(pid, now) {
			if now.Before(g.list) {
				return // others can wait until this one is looked at
			}
			break
		}
	}
	g.list = now.Add(settle)
	lists := listThreads() // after all that is pending had come into one of them
	for pid := range lists.possibleOrphans() {
		if g.pending[pid] == nil && peekChild(pid) == waitExited {
			g.meet(pid, now)
		}
	}
	for pid, z := range g.pending {
		switch {
		case peekChild(pid) != waitExited:
			delete(g.pending, pid)
		case !z.fds && !z.ask.IsZero() && !now.Before(z.ask):
			g.decide(pid, z, lists, now)
		}
	}
	g.lookAtDescriptors(now)
}

// meet is called for a zombie not seen before, and reports whether it is gone.
func (g *orphanage) meet(pid int, now time.Time) bool {
	if !g.listed[pid] && whose(session(pid)) == ofNobody {
		return g.reap(&child{pid: pid, fd: noPidfd})
	}
	g.pending[pid] = &zombie{ask: now.Add(settle), again: believeFirst, fresh: true}
	return false
}

// decide reaps a zombie that has stayed if it is nobody's. If that takes a look
// at the descriptors it only says so.
func (g *orphanage) decide(pid int, z *zombie, lists *threadLists, now time.Time) {
	z.fresh = false
	z.ask = now.Add(z.again)
	z.again = min(2*z.again, believeLast)
	if g.listed[pid] {
		if _, later := identify(pid, g.since); !later {
			if g.from.take(pid) { // or it is a Reaper's, or adopted
				g.reap(&child{pid: pid, fd: noPidfd})
			}
			return
		}
	}
	e := session(pid)
	e.place = lists.place(pid)
	var buf [statSize]byte
	if g.pidfds {
		// The descriptors will tell at less cost than this.
	} else if s, err := ourStat(pid, buf[:]); err == nil {
		e.older = s.start < g.since
	}
	switch whose(e) {
	case ofNobody:
		g.reap(&child{pid: pid, fd: noPidfd})
	case again:
		z.ask, z.again = now.Add(settle), believeFirst
	case unless:
		if g.pidfds {
			z.fds, z.ask, z.again = true, now, believeFirst
		} else {
			z.ask = time.Time{}
			g.leave(pid)
		}
	}
}

// session is the evidence that costs next to nothing.
func session(pid int) evidence {
	e := evidence{pid: pid, session: -1, ours: [2]int{sessionAtStart, ownSession()}}
	if sid, err := unix.Getsid(pid); err == nil {
		e.session = sid
	}
	return e
}

// lookAtDescriptors settles what is pending and due, all with one look.
func (g *orphanage) lookAtDescriptors(now time.Time) {
	if now.Before(g.sweep) {
		return
	}
	most, below := heldRoom()
	var due []*child
	for pid, z := range g.pending {
		if !z.fds || now.Before(z.ask) {
			continue
		}
		if len(due) == most {
			break
		}
		// Held by us, it can't become another process during the look.
		c := &child{pid: pid, fd: noPidfd}
		if hold(c); c.fd >= below {
			c.release()
		}
		if c.fd == noPidfd {
			z.ask = now.Add(believeFirst) // the table of descriptors is full
			continue
		}
		due = append(due, c)
	}
	if len(due) == 0 {
		return
	}
	held, ok := pidfdsHeld(due)
	took := time.Since(now)
	for _, c := range due {
		z := g.pending[c.pid]
		switch {
		case ok && !held[c.pid]:
			g.reap(c)
			delete(g.pending, c.pid)
		default:
			z.ask = now.Add(z.again)
			z.again = min(2*z.again, believeLast)
		}
		c.release()
	}
	g.sweep = time.Now().Add(scanPause(took))
}

// heldRoom says how many pidfds a look may hold at a time, and from which number
// on descriptors are left to the program: it must not run out of them because of
// us, not even for a moment.
func heldRoom() (most, below int) {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil {
		return 1, maxHeld
	}
	count, below := pidfdRoom(limit.Cur)
	return min(maxHeld, max(count/4, 1)), below
}

// pidfdsHeld returns the PIDs of those zombie children of this process for which
// it has a pidfd, other than the given ones. waitid tells a pidfd from any other
// descriptor, and whose it is, at a tenth of the price of reading /proc/self/fd.
func pidfdsHeld(except []*child) (held map[int]bool, ok bool) {
	end, ok := descriptorsEnd()
	if !ok {
		return nil, false
	}
	own := make(map[int]bool)
	for _, c := range except {
		own[c.fd] = true
	}
	held = make(map[int]bool)
	for fd := range end {
		var info unix.Siginfo
		if own[fd] || waitid(unix.P_PIDFD, fd, &info, unix.WEXITED|unix.WNOWAIT, nil) != nil {
			continue
		}
		if pid, _ := childInfo(&info); pid != 0 {
			held[pid] = true
		}
	}
	return held, true
}

// descriptorsEnd returns a number above those of all open descriptors.
func descriptorsEnd() (int, bool) {
	if b, err := readAll("/proc/self/status", make([]byte, 0, 4096)); err == nil {
		if n, ok := parseFDSize(b); ok {
			return n, true
		}
	}
	// Without /proc, all that there can be, unless the limit has been lowered
	// after they were opened: then the highest stay out of sight.
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil {
		return 0, false
	}
	return int(min(limit.Max, 1<<20)), true
}

// reap waits for the zombie and reports it.
func (g *orphanage) reap(c *child) bool {
	e := ChildExit{PID: c.pid}
	if g.wanted {
		e.Command, _ = identify(c.pid, 0)
	}
	switch g.from.wait(c, &e) {
	case waitExited:
		g.reaped(&e)
		return true
	case waitRunning: // traced
		return false
	default:
		return true
	}
}

// leave reports a zombie of which it can't be said whose it is.
func (g *orphanage) leave(pid int) {
	if !g.wanted {
		return
	}
	c := describe(pid)
	g.add(func() {
		g.logger.Warn("zombie left: an orphan, or a child that somebody will wait for", "pid", c.PID, "command", c.Command)
		if g.left != nil {
			g.left(c)
		}
	})
}

// wakeUp tells when there is something to do even if no child exits.
func (g *orphanage) wakeUp() (at time.Time, ok bool) {
	for _, z := range g.pending {
		if !z.ask.IsZero() && (!ok || z.ask.Before(at)) {
			at, ok = z.ask, true
		}
	}
	if ok && at.Before(g.sweep) {
		at = g.sweep
	}
	return at, ok
}

// threadLists says with which thread the kernel lists a child.
type threadLists struct {
	main   map[int]bool // nil if there are no lists
	others map[int]bool // nil before they are needed
}

// listThreads reads the main thread's list.
func listThreads() *threadLists {
	pids, err := readChildren(unix.Getpid())
	if err != nil {
		return &threadLists{}
	}
	l := &threadLists{main: make(map[int]bool, len(pids))}
	for _, pid := range pids {
		l.main[pid] = true
	}
	return l
}

// possibleOrphans returns the children among which orphans can be.
func (l *threadLists) possibleOrphans() map[int]bool {
	if l.main != nil {
		return l.main
	}
	pids, _, _ := listWithoutChildrenFile(func() int {
		if max(unix.Getpid(), peekZombie()) < smallPIDMax {
			return smallPIDMax
		}
		return largePIDMax
	})
	all := make(map[int]bool, len(pids))
	for _, pid := range pids {
		all[pid] = true
	}
	return all
}

// place tells where the child is. That it is missing from one list does not say
// that it is in another: whatever is waited for while a list is read can make the
// kernel leave out a neighbour.
func (l *threadLists) place(pid int) place {
	switch {
	case l.main == nil:
		return placeUnknown
	case l.main[pid]:
		return placeMain
	}
	if l.others == nil {
		l.others = make(map[int]bool)
		tasks, _ := readNumbered("/proc/self/task")
		for _, task := range tasks {
			if task == unix.Getpid() {
				continue
			}
			pids, _ := readChildren(task)
			for _, pid := range pids {
				l.others[pid] = true
			}
		}
	}
	if l.others[pid] {
		return placeOther
	}
	return placeMissed
}
