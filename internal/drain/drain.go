// Package drain quiesces and drains the parts of a program that accept work from outside,
// before an exec. If the exec does not take place, the parts resume. No method of a part
// is called under a lock, and no part can hold a restart up for longer than its time.
//
// A drain goes through stages. The parts with the lowest DrainOrder are the first stage: they
// are quiesced one after the other, and drained at the same time. When they are drained, the
// parts with the next number are quiesced. All stages have one limit of time. When it is up,
// all parts that are left are quiesced and drained at once.
package drain

import (
	"context"
	"math"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/autorestart-go/autorestart/internal/report"
)

// Drainer is the interface of that name in the root package.
type Drainer interface {
	Quiesce()
	Drain(ctx context.Context) error
	Resume()
}

// Notifier is a group that would notice a drain.
type Notifier interface {
	Begin(ctx context.Context, timeout time.Duration, progress func(unfinished []string)) (Drained, error)
	BeginRollback() (quiesced, drained time.Time, resume func())
	release()
}

// Drained is a drain that has ended: nothing accepts work.
type Drained interface {
	// Times returns when no new work was accepted any more, and when all work was done, or
	// the time was up.
	Times() (quiesced, drained time.Time)

	// Unfinished returns what was not finished in time, in words for a human.
	Unfinished() []string

	// Seal drains what was registered since, in the time that is left. From then on nothing
	// is registered. It is called right before the exec, and fails after [Group.End].
	Seal() error

	// Resume has everything accept work again, where no exec follows.
	Resume()
}

// An orderer is a Drainer that says in which stage it is drained. The others are in stage 0.
type orderer interface{ DrainOrder() int }

// allStages is the stage of a drain that has quiesced everything.
const allStages = math.MaxInt

// A Group is a set of drainers that are quiesced and drained together. The zero value
// is empty.
type Group struct {
	// phase is held while members are quiesced, and while they resume: for a few times
	// hookTimeout at most.
	phase sync.Mutex

	mu       sync.Mutex    // below phase
	members  []*member     // in the order in which they are quiesced
	held     bool          // see Hold
	drains   int           // under way; a rollback may begin one during another
	stage    int           // that those have reached; it means nothing if drains is 0
	begun    int           // of all drains
	resuming int           // calls of Resume that have not returned
	sealed   int           // of those, see [Drain.Seal]
	opening  int           // see Opening
	draining chan struct{} // closed while drains is not 0; nil until it is asked for
	changed  chan struct{} // closed when one of the above changes; nil if nothing waits

	beforeSeal []*func()
	ending     error // see End

	// notifier is the group itself once it has drainers or its channel was asked for. It
	// is an interface so that a program that never drains does not contain the code for
	// it.
	notifier atomic.Pointer[Notifier]
}

// A member is one registration: a Drainer may be registered twice.
type member struct {
	Hook
	asked   Hook // calls Unfinished, also while Drain is running
	drainer Drainer
	group   *Group // whose mutex guards the rest

	order    int           // the stage in which it is drained
	early    bool          // quiesced before its stage, see QuiesceNow
	quiesced bool          // by the last call
	gone     bool          // unregistered: no method is called any more
	brief    chan struct{} // closed when the Quiesce or Resume that is running returns; nil if none is
}

func (m *member) startQuiesce() (result <-chan error) { return m.startBrief(m.drainer.Quiesce) }
func (m *member) startResume() (result <-chan error)  { return m.startBrief(m.drainer.Resume) }

// startBrief begins a call of Quiesce or Resume.
func (m *member) startBrief(method func()) (result <-chan error) {
	return m.Start(func() error {
		running := make(chan struct{})
		m.group.mu.Lock()
		gone := m.gone
		m.brief = running
		m.group.mu.Unlock()
		defer func() {
			m.group.mu.Lock()
			m.brief = nil
			m.group.mu.Unlock()
			close(running)
		}()
		if !gone {
			method()
		}
		return nil
	})
}

func (m *member) isGone() bool {
	m.group.mu.Lock()
	defer m.group.mu.Unlock()
	return m.gone
}

// hookTimeout is the time that methods which are to return soon have for that, and Drain after
// the end of its context. On a busy machine that takes a while.
const hookTimeout = time.Second

// Register adds d to the group until unregister is called. While a drain is under
// way that has reached the stage of d, d is quiesced at once, and drained with the others.
// Register waits while the group is sealed.
func (g *Group) Register(d Drainer) (unregister func()) {
	g.setNotifier()
	m := &member{drainer: d, group: g}
	if o, ok := d.(orderer); ok {
		m.order = o.DrainOrder()
	}
	g.mu.Lock()
	for g.sealed > 0 {
		g.wait(context.Background())
	}
	g.insert(m)
	awaitQuiesced := g.quiesceIfDue(m)
	g.change()
	g.mu.Unlock()
	awaitQuiesced()
	return func() { g.unregister(m) }
}

// insert is called with g locked.
func (g *Group) insert(m *member) {
	i := len(g.members)
	for i > 0 && g.members[i-1].order > m.order {
		i--
	}
	g.members = slices.Insert(g.members, i, m)
}

// isDue reports whether the member is to be quiesced by now. It is called with g locked.
func (g *Group) isDue(m *member) bool {
	return g.held || g.drains > 0 && (m.early || m.order <= g.stage)
}

// quiesceIfDue begins to quiesce the member if that is due. It is called with g locked: what
// drains the member comes after it. The caller calls await with g unlocked.
func (g *Group) quiesceIfDue(m *member) (await func()) {
	if m.quiesced || !g.isDue(m) {
		return func() {}
	}
	m.quiesced = true
	quiesced := m.startQuiesce()
	return func() {
		limited, cancel := context.WithTimeout(context.Background(), hookTimeout)
		defer cancel()
		m.log("Quiesce", hookTimeout, wait(limited, quiesced))
	}
}

// QuiesceNow quiesces d, which is comparable, before its turn if a drain is under way, and reports
// whether one is. So d is drained in its turn, or resumes if the drain is called off.
func (g *Group) QuiesceNow(d Drainer) (draining bool) {
	g.mu.Lock()
	i := slices.IndexFunc(g.members, func(m *member) bool { return m.drainer == d })
	if i < 0 || g.drains == 0 {
		g.mu.Unlock()
		return false
	}
	m := g.members[i]
	m.early = true
	awaitQuiesced := g.quiesceIfDue(m)
	g.mu.Unlock()
	awaitQuiesced()
	return true
}

// unregister returns when neither Quiesce nor Resume of the member is running any more; or
// after hookTimeout, as if one of them has called it.
func (g *Group) unregister(m *member) {
	g.mu.Lock()
	g.members = slices.DeleteFunc(g.members, func(other *member) bool { return other == m })
	m.gone = true
	running := m.brief
	g.change()
	g.mu.Unlock()
	if running != nil {
		select {
		case <-running:
		case <-time.After(hookTimeout):
		}
	}
}

// Opening is called before something is opened that will be registered. A group is not
// sealed before done is called, and what is registered during a drain is drained, too. So
// there is never a part that was opened and is not drained. While the group is sealed,
// Opening waits for the resume, or for the end of ctx, whose cause it returns.
func (g *Group) Opening(ctx context.Context) (done func(), err error) {
	return g.beginOpening(ctx, func() bool { return g.sealed > 0 })
}

// Claiming is Opening for something that was handed to this image. It waits for the end of any
// drain: a version that is replaced claims nothing any more.
func (g *Group) Claiming(ctx context.Context) (done func(), err error) {
	return g.beginOpening(ctx, g.isDraining)
}

func (g *Group) beginOpening(ctx context.Context, blocked func() bool) (done func(), err error) {
	g.setNotifier()
	g.mu.Lock()
	defer g.mu.Unlock()
	for blocked() {
		if err := g.wait(ctx); err != nil {
			return nil, err
		}
	}
	g.opening++
	return func() {
		g.mu.Lock()
		g.opening--
		g.change()
		g.mu.Unlock()
	}, nil
}

// IsDraining reports whether a drain is under way.
func (g *Group) IsDraining() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.drains > 0
}

// isDraining is called with g locked.
func (g *Group) isDraining() bool { return g.drains > 0 || g.resuming > 0 }

// AwaitEnd waits for the end of the drain, if one is under way, and reports whether that
// was so. The error is the cause of the end of ctx.
func (g *Group) AwaitEnd(ctx context.Context) (waited bool, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.isDraining() {
		waited = true
		if err := g.wait(ctx); err != nil {
			return true, err
		}
	}
	return waited, nil
}

// Begun returns how many drains have begun so far.
func (g *Group) Begun() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.begun
}

// End has [Drained.Seal] return err from now on: the program is about to end, and no other version is executed. A
// rollback goes on.
func (g *Group) End(err error) {
	g.mu.Lock()
	g.ending = err
	g.mu.Unlock()
	g.AlwaysNotify()
}

// Ending returns the error of [Group.End], or nil if that was not called.
func (g *Group) Ending() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.ending
}

// AlwaysNotify has the group notice each drain, also while it has no drainers: the program
// may be about to open what is drained.
func (g *Group) AlwaysNotify() { g.setNotifier() }

// BeforeSeal has f called, without a lock, whenever the group is sealed: everything is
// drained, and the exec comes next. f returns soon. All such functions are called at the same time.
func (g *Group) BeforeSeal(f func()) (remove func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	p := &f
	g.beforeSeal = append(g.beforeSeal, p)
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.beforeSeal = slices.DeleteFunc(g.beforeSeal, func(other *func()) bool { return other == p })
	}
}

// Draining returns a channel that is closed while a drain is under way. After a
// resume the next call returns another channel.
func (g *Group) Draining() <-chan struct{} {
	g.setNotifier()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.draining == nil {
		g.draining = make(chan struct{})
		if g.drains > 0 {
			close(g.draining)
		}
	}
	return g.draining
}

// Notifier returns the group if it has drainers or its channel was asked for, and nil
// otherwise.
func (g *Group) Notifier() Notifier {
	if n := g.notifier.Load(); n != nil {
		return *n
	}
	return nil
}

func (g *Group) setNotifier() {
	var n Notifier = g
	g.notifier.Store(&n)
}

// wait unlocks g, waits for a change or the end of ctx, whose cause it returns, and locks g.
func (g *Group) wait(ctx context.Context) error {
	changed := g.changedLocked()
	g.mu.Unlock()
	defer g.mu.Lock()
	select {
	case <-changed:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// changedLocked returns a channel that the next change closes.
func (g *Group) changedLocked() <-chan struct{} {
	if g.changed == nil {
		g.changed = make(chan struct{})
	}
	return g.changed
}

// change is called with g locked.
func (g *Group) change() {
	if g.changed != nil {
		close(g.changed)
		g.changed = nil
	}
}

// log logs that a method of the member has failed, if it has.
func (m *member) log(method string, limit time.Duration, err error) {
	if err == nil {
		return
	}
	if err == ErrStuck {
		report.Warn("a Drainer does not return: going on without it", "drainer", m.name(), "method", method, "after", limit.String())
		return
	}
	report.Warn("a Drainer failed", "drainer", m.name(), "method", method, "reason", err)
}

// name returns the type of the Drainer.
func (m *member) name() string { return reflect.TypeOf(m.drainer).String() }
