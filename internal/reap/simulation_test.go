package reap

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/autorestart-go/autorestart/internal/simulation"
)

// simWorld is a simulated kernel, a program in it that uses the policy, and what is known of both.
type simWorld struct {
	*simKernel
	simLimits
	lasting simLimits // those that stay when all is quiet

	mu      sync.Mutex // of all that is here; the policy is called without it
	failure string

	openFiles      int
	inCalls        int  // in one call of so many something happens
	byPidfd        bool // os/exec starts by pidfd
	poor           bool // the system has wait4(2) and kill(2) only
	slowCalls      bool // some calls take time
	listing        bool // the snapshot is being made
	sessionAtStart int

	calls       int
	callsFrom   time.Time
	callsAtOnce int

	snapshot    *Snapshot
	inherited   map[int]*simProcess
	descriptors map[int]*simDescriptor
	handles     map[*simProcess]*simDescriptor // of os/exec
	actors      []*simActor
	caller      *simActor // whose method the program calls
	listeners   []*simListener
	pollers     []*simPoller
	deliveries  []*simDelivery
	wake        chan struct{}
	goroutines  sync.WaitGroup
}

// notef is Tracef for code that does not hold mu.
func (w *simWorld) notef(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.Tracef(format, args...)
}

func (w *simWorld) fail(format string, args ...any) {
	if w.failure == "" {
		w.failure = fmt.Sprintf(format, args...)
		w.Tracef("FAILURE: %s", w.failure)
	}
}

// TestSimulation drives the policy by random schedules of a simulated kernel.
func TestSimulation(t *testing.T) { simulation.Run(t, 600, simulate) }

// A seed is all that a schedule depends on.
func TestSimulationRepeats(t *testing.T) { simulation.Repeats(t, 15, simulate) }

func simulate(_ *testing.T, s *simulation.Schedule) {
	if w := runWorld(s); w.failure != "" {
		s.Failf("%s", w.failure)
	}
}

func runWorld(s *simulation.Schedule) *simWorld {
	w := &simWorld{
		simKernel:   newSimKernel(s),
		inherited:   make(map[int]*simProcess),
		descriptors: make(map[int]*simDescriptor),
		handles:     make(map[*simProcess]*simDescriptor),
		wake:        make(chan struct{}, 1),
	}
	w.exits, w.mayComeBack = w.announced, w.mayBeReused
	w.limit()
	w.begin()
	w.acts()
	w.settle()
	w.shutDown()
	return w
}

// limit chooses the system.
func (w *simWorld) limit() {
	l := &w.simLimits
	filter := []error{syscall.ENOSYS, syscall.EPERM}[w.IntN(2)]
	if w.Chance(4) {
		l.noPidfd = filter
	}
	if w.Chance(8) {
		l.noPidfdWait = syscall.EINVAL
	}
	if w.Chance(8) {
		l.noPidfdSignal = filter
	}
	if w.Chance(8) {
		l.noPoller = filter
	}
	if w.Chance(6) {
		l.noChildrenFile = syscall.ENOENT
	}
	if w.Chance(8) {
		l.hidepid = true
	}
	if w.Chance(16) {
		l.noProc = syscall.ENOENT
	}
	if w.poor = w.Chance(50); w.poor {
		no := errors.ErrUnsupported
		*l = simLimits{noPidfd: no, noPidfdWait: no, noPidfdSignal: no, noPoller: no, noPeek: no, noProc: no, noChildrenFile: no}
	}
	w.byPidfd = l.noPidfd == nil && l.noPidfdWait == nil
	w.lasting = *l
	w.openFiles = []int{1024, 64, 16, 8}[w.IntN(4)]
	w.failing = []int{0, 0, 30, 5}[w.IntN(4)]
	w.inCalls = []int{0, 50, 10}[w.IntN(3)]
	w.slowCalls = w.Chance(4)
	w.Tracef("%+v poor %v, %d files, failing %d, acts in calls %d, slow %v", *l, w.poor, w.openFiles, w.failing, w.inCalls, w.slowCalls)
}

// begin makes the children of the image before, and the snapshot of this image.
func (w *simWorld) begin() {
	for range w.IntN(8) {
		if p := w.fork(w.self, w.self.pid, inherited); p != nil {
			p.foreign = w.Chance(6)
			w.inherited[p.pid] = p
			if w.Chance(3) {
				p.session = p.pid
			}
			w.Tracef("%v is inherited", p)
		}
		if w.Chance(3) {
			w.processForks()
		}
		if w.Chance(4) {
			w.pass(30 * time.Millisecond)
		}
		if p := w.pick(func(p *simProcess) bool { return !p.exited && w.Chance(4) }); p != nil {
			w.exitSomehow(p)
		}
	}
	for _, p := range w.self.children {
		p.whose = inherited
		w.inherited[p.pid] = p
	}
	w.imageTick = w.tick()
	w.newThread() // the runtime's own, which stays
	w.Tracef("the image starts, with thread %d", w.threads[1])
	w.listing = true
	w.sessionAtStart = w.self.session
	for w.Chance(4) {
		w.pass(20 * time.Millisecond)
		w.programStarts()
	}
	failing, inCalls := w.failing, w.inCalls
	w.failing, w.inCalls = 0, 0
	w.snapshot = TakeSnapshot(simTable{w}, true)
	w.listing = false
	w.ascending = 0
	w.failing, w.inCalls = failing, inCalls
}

// pass lets up to so much time pass.
func (w *simWorld) pass(d time.Duration) {
	w.advance(time.Now().Add(w.Duration(d).Truncate(simInstant)))
	if !slices.ContainsFunc(w.actors, func(a *simActor) bool { return a.busy }) {
		w.settlePIDs()
	}
}

// acts has things happen, and the program use the policy.
func (w *simWorld) acts() {
	for range 20 + w.IntN(60) {
		w.pass([]time.Duration{time.Microsecond, 15 * time.Millisecond, time.Second}[w.IntN(3)])
		if w.failure != "" {
			return
		}
		if w.Chance(3) {
			w.uses()
			continue
		}
		w.mu.Lock()
		w.something()
		w.mu.Unlock()
	}
}

// uses has the program use the policy.
func (w *simWorld) uses() {
	running := func(kind simKind) *simActor {
		for _, a := range w.actors {
			if a.kind == kind && !a.ended {
				return a
			}
		}
		return nil
	}
	switch w.IntN(12) {
	case 0, 1:
		w.startReaper(w.escalation())
	case 2:
		w.cancel(running(byReaper))
	case 3, 4:
		if one := running(byOrphans); !w.poor && (one == nil || !w.slowCalls && w.Chance(4)) {
			w.startOrphans()
		}
	case 5:
		w.cancel(running(byOrphans))
	case 6, 7:
		w.adopt()
	case 8:
		if a := running(byAdopted); a != nil {
			w.useAdopted(a)
		}
	case 9:
		if len(w.pollers) > 0 {
			w.failPoller(w.pollers[w.IntN(len(w.pollers))])
		}
	case 10:
		w.filter()
	case 11:
		w.mu.Lock()
		w.programWaits()
		w.mu.Unlock()
	}
}

// filter has a filter forbid calls, or ends that.
func (w *simWorld) filter() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.poor || w.Chance(2) {
		failing := w.failing
		w.simLimits, w.failing = w.lasting, failing
		return
	}
	err := []error{syscall.ENOSYS, syscall.EPERM}[w.IntN(2)]
	which := []*error{&w.noPidfd, &w.noPidfdWait, &w.noPidfdSignal, &w.noPoller, &w.noPeek, &w.noWait}[w.IntN(6)]
	*which = err
	for _, a := range w.actors {
		a.undecided = nil // after such a time, zombies are met anew
	}
	w.Tracef("a filter comes: %+v", w.simLimits)
}

// settle lets all come to its end, and judges that.
func (w *simWorld) settle() {
	if w.failure != "" {
		return
	}
	w.quiet()
	w.advance(time.Now().Add(maxQuiet))
	calls := w.calls
	w.advance(time.Now().Add(maxQuiet))
	w.judgeQuiet(w.calls - calls)

	w.mu.Lock()
	for p := w.livingChild(); p != nil; p = w.livingChild() { // the next may have come to self by this
		w.exitSomehow(p)
	}
	w.mu.Unlock()
	for _, a := range w.actors {
		if a.kind == byAdopted && !a.ended && !a.running {
			w.waitAdopted(a)
		}
	}
	w.advance(time.Now().Add(2 * time.Second))
	w.startReaper(nil)
	w.advance(time.Now().Add(time.Second))
	w.judgeEnd()
}

func (w *simWorld) livingChild() *simProcess {
	return w.pick(func(p *simProcess) bool { return p.parent == w.self && !p.exited })
}

// judgeQuiet judges what there is after a quiet time.
func (w *simWorld) judgeQuiet(calls int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	zombies := 0
	for _, p := range w.self.children {
		if p.zombie() {
			zombies++
		}
		if p.zombie() && p.custody != nil && (p.custody.kind == byReaper || p.custody.running) {
			w.fail("%v, %s, was not waited for", p, p.describe())
		}
	}
	runs := 1
	for _, a := range w.actors {
		if a.kind == byOrphans && !a.ended {
			runs++
		}
	}
	perSecond := 20
	if w.openFiles < 64 { // then there may be a look for each zombie once a second
		perSecond = 8*zombies + 3*w.pids + w.openFiles
	}
	if limit := runs * zombies * (int(maxQuiet.Seconds())*perSecond + 4*w.openFiles); calls > limit {
		w.fail("%d calls while nothing happened, limit %d", calls, limit)
	}
	for _, a := range w.actors {
		if a.kind != byOrphans || a.ended {
			continue
		}
		if p := w.orphansLeft(); p != nil {
			w.fail("%v, %s, was left by %v", p, p.describe(), a)
		}
	}
}

// judgeEnd judges what there is when all children have exited.
func (w *simWorld) judgeEnd() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range w.actors {
		if a.kind == byReaper && !a.ended {
			w.fail("%v has no children, and has not returned", a)
		}
		if a.kind == byAdopted && !a.ended {
			w.fail("%v: %v has exited, and Wait has not returned", a, a.child)
		}
	}
	for pid := range w.pids {
		if p := w.inherited[pid]; p != nil && !p.waited {
			w.fail("%v, %s, was not waited for", p, p.describe())
		}
	}
}

// shutDown ends all runs, and judges what they hold then.
func (w *simWorld) shutDown() {
	for _, a := range w.actors {
		w.cancel(a)
	}
	w.advance(time.Now().Add(time.Second))
	time.Sleep(time.Second) // also after a failure
	synctest.Wait()
	w.mu.Lock()
	for _, a := range w.actors {
		if !a.ended {
			w.fail("%v has not returned", a)
		}
	}
	for fd := range w.openFiles {
		if d := w.descriptors[fd]; d != nil && d.owner != nil {
			w.fail("descriptor %d of %v was left open", fd, d.owner)
		}
	}
	if len(w.listeners) > 0 || len(w.pollers) > 0 {
		w.fail("left open: %d listeners, %d pollers", len(w.listeners), len(w.pollers))
	}
	w.mu.Unlock()
	w.goroutines.Wait()
}

// start starts an actor's goroutine. It counts as ended when f has ended it, or was ended itself.
func (w *simWorld) start(a *simActor, f func(ctx context.Context)) {
	w.mu.Lock()
	if a.n == 0 {
		w.actors = append(w.actors, a)
		a.n = time.Duration(len(w.actors))
	}
	var ctx context.Context
	ctx, a.cancel = context.WithCancel(context.Background())
	w.mu.Unlock()
	w.align(a)
	w.goroutines.Go(func() {
		returned := false
		defer func() {
			if !returned {
				w.mu.Lock()
				a.ended = true
				w.mu.Unlock()
			}
		}()
		f(ctx)
		returned = true
	})
	w.align(nil)
}

func (w *simWorld) cancel(a *simActor) {
	if a == nil {
		return
	}
	w.align(a)
	w.mu.Lock()
	cancel, ended, busy := a.cancel, a.ended, a.busy
	w.mu.Unlock()
	if !ended && cancel != nil && (!busy || w.failure != "") {
		w.notef("the context of %v ends", a)
		cancel()
	}
	w.align(nil)
}
