package drain

import (
	"context"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/autorestart-go/autorestart/internal/report"
)

// A Drain is a group that is drained: a [Drained].
type Drain struct {
	group    *Group
	timeout  time.Duration
	progress func(unfinished []string) // see [Group.Begin]; nil in a rollback
	ctx      context.Context           // ends with the time
	end      func()                    // of ctx
	stage    int                       // that has been reached
	begun    map[*member]bool          // those whose Drain was called
	sealed   bool

	quiesced, drained time.Time
	unfinished        []string
}

// Times implements [Drained].
func (d *Drain) Times() (quiesced, drained time.Time) { return d.quiesced, d.drained }

// Unfinished implements [Drained].
func (d *Drain) Unfinished() []string { return d.unfinished }

// Begin quiesces the group and drains it, one stage after the other, for as long as timeout
// allows. What is left then is logged. If ctx ends first, everything resumes, and Begin returns
// its cause. Otherwise the caller calls Resume where no exec follows. While Begin or Seal waits,
// it calls progress: after a second, and then less and less often.
func (g *Group) Begin(ctx context.Context, timeout time.Duration, progress func(unfinished []string)) (Drained, error) {
	d := g.begin(ctx, timeout)
	d.progress = progress
	d.drain()
	if ctx.Err() != nil {
		d.Resume()
		return nil, context.Cause(ctx)
	}
	d.drained = time.Now()
	return d, nil
}

// begin quiesces the first stage.
func (g *Group) begin(ctx context.Context, timeout time.Duration) *Drain {
	d := &Drain{group: g, timeout: timeout, stage: math.MinInt, begun: map[*member]bool{}}
	limited, cancel := context.WithTimeout(context.Background(), timeout)
	stop := context.AfterFunc(ctx, cancel)
	d.ctx, d.end = limited, func() {
		stop()
		cancel()
	}
	g.mu.Lock()
	if g.drains == 0 {
		g.stage = d.stage
	}
	g.drains++
	g.begun++
	g.change()
	g.mu.Unlock()
	d.nextStage()
	return d
}

// timeIsUp reports whether the drain has ended, and was not called off.
func (d *Drain) timeIsUp() bool { return d.ctx.Err() == context.DeadlineExceeded }

// isCalledOff reports whether the members are about to resume.
func (d *Drain) isCalledOff() bool { return d.ctx.Err() == context.Canceled }

// nextStage quiesces the members of the next stage. It returns false if there are none: from then
// on, what is registered is quiesced at once.
func (d *Drain) nextStage() (more bool) {
	g := d.group
	g.phase.Lock()
	defer g.phase.Unlock()
	members, more := d.reach()
	callInOrder(members, "Quiesce", (*member).startQuiesce)
	g.closeDraining()
	if len(members) > 0 || d.quiesced.IsZero() {
		d.quiesced = time.Now()
	}
	return more
}

// reach sets the stage to that of the members that come next, or to the last one if the time is
// up. It returns those that are to be quiesced.
func (d *Drain) reach() (members []*member, more bool) {
	g := d.group
	g.mu.Lock()
	defer g.mu.Unlock()
	next := slices.IndexFunc(g.members, func(m *member) bool { return !d.begun[m] })
	more = next >= 0
	if !more || d.timeIsUp() {
		d.stage = allStages
	} else {
		d.stage = max(d.stage, g.members[next].order)
	}
	g.stage = max(g.stage, d.stage)
	for _, m := range g.members {
		if !m.quiesced && g.isDue(m) {
			m.quiesced = true
			members = append(members, m)
		}
	}
	return members, more
}

// closeDraining closes the channel of Draining. A client that notices meets no part of the
// first stage that still accepts work.
func (g *Group) closeDraining() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.draining == nil {
		return
	}
	select {
	case <-g.draining: // another drain is under way, or it was made during this one
	default:
		close(g.draining)
	}
}

// drain drains every member that is not drained yet, those included that are registered
// meanwhile, one stage after the other.
func (d *Drain) drain() {
	timeout := d.ctx.Done()
	ended := make(chan outcome)
	ticks := newProgressTicks(d.timeout, d.progress)
	defer ticks.stop()
	var running []*member
	var late []string
	for {
		members, changed := d.takeReached()
		if len(members) > 0 {
			limit, stop := endingAfter(d.ctx, hookTimeout) // from now on, if the time is up
			defer stop()
			for _, m := range members {
				go func() { ended <- d.drainMember(limit, m) }()
			}
			running = append(running, members...)
		}
		if len(running) == 0 {
			if !d.isCalledOff() && d.nextStage() {
				continue
			}
			d.logLate(late)
			return
		}
		select {
		case o := <-ended:
			running = slices.DeleteFunc(running, func(m *member) bool { return m == o.member })
			if o.unfinished != "" {
				d.unfinished = append(d.unfinished, o.unfinished)
				if o.late {
					late = append(late, o.unfinished)
				}
			}
		case <-changed:
		case <-timeout:
			timeout = nil
			if d.timeIsUp() {
				d.nextStage()
			}
		case <-ticks.c:
			ticks.ask(slices.Clone(running))
		case texts := <-ticks.answers:
			ticks.tell(texts)
		}
	}
}

// takeReached returns the members whose Drain is called next, and a channel that the next change
// closes.
func (d *Drain) takeReached() (members []*member, changed <-chan struct{}) {
	g := d.group
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, m := range g.members {
		if m.order <= d.stage && !d.begun[m] {
			d.begun[m] = true
			members = append(members, m)
		}
	}
	return members, g.changedLocked()
}

// An outcome is what a member has not finished: "" if it has finished all.
type outcome struct {
	member     *member
	unfinished string
	late       bool // because its time was up; any other reason is logged
}

func (d *Drain) drainMember(limit context.Context, m *member) outcome {
	err := m.Call(limit, func() error {
		if m.isGone() {
			return nil
		}
		return m.drainer.Drain(d.ctx)
	})
	_, panicked := err.(*PanicError)
	switch {
	case err == nil:
		return outcome{member: m}
	case panicked || err == ErrStuck || d.ctx.Err() == nil:
		m.log("Drain", d.timeout+hookTimeout, err)
		return outcome{member: m, unfinished: m.failure(err)}
	case d.timeIsUp():
		return outcome{m, m.unfinishedAfter(limit, err), true}
	default: // called off
		return outcome{member: m}
	}
}

// logLate logs what was not finished in time, if anything was.
func (d *Drain) logLate(unfinished []string) {
	text := strings.Join(unfinished, ", ")
	switch {
	case text == "":
	case d.timeout <= 0:
		report.Info("closing what is not done: DrainTimeout is negative", "closing", text)
	case d.progress == nil:
		report.Warn("rollback: closing what is not done", "timeout", d.timeout.String(), "closing", text)
	default:
		report.Warn("drain timeout: closing what is not done; raise DrainTimeout to wait longer", "timeout", d.timeout.String(), "closing", text)
	}
}

// Seal drains what was registered since Begin, in the time that is left, and then has
// registrations wait until Resume, so that nothing can be registered that is not drained.
// A socket that is being opened, see [Group.Opening], has hookTimeout for that. Seal is called right before the exec. After
// [Group.End] it returns the error of that call.
func (d *Drain) Seal() error {
	d.seal()
	return d.group.Ending()
}

func (d *Drain) seal() {
	g := d.group
	soon, cancel := context.WithTimeout(context.Background(), hookTimeout)
	defer cancel()
	for {
		d.drain()
		g.mu.Lock()
		for g.opening > 0 && g.wait(soon) == nil {
		}
		if !slices.ContainsFunc(g.members, func(m *member) bool { return !d.begun[m] }) {
			break
		}
		g.mu.Unlock()
	}
	d.sealed = true
	g.sealed++
	g.mu.Unlock()
	g.callBeforeSeal()
}

func (g *Group) callBeforeSeal() {
	g.mu.Lock()
	callbacks := slices.Clone(g.beforeSeal)
	g.mu.Unlock()
	var running sync.WaitGroup
	for _, f := range callbacks {
		running.Go(*f)
	}
	running.Wait()
}

// Resume has the group accept work again.
func (d *Drain) Resume() {
	d.end()
	g := d.group
	g.phase.Lock()
	defer g.phase.Unlock()
	g.resumeAll(d.finish())
}

// callInOrder calls a method of the members, one after the other; those after one that
// does not return all at once. It takes twice hookTimeout at most.
func callInOrder(members []*member, method string, start func(*member) <-chan error) {
	ctx, cancel := context.WithTimeout(context.Background(), hookTimeout)
	defer cancel()
	for i, m := range members {
		err := wait(ctx, start(m))
		m.log(method, hookTimeout, err)
		if err == ErrStuck {
			callAtOnce(members[i+1:], method, start)
			return
		}
	}
}

func callAtOnce(members []*member, method string, start func(*member) <-chan error) {
	ctx, cancel := context.WithTimeout(context.Background(), hookTimeout)
	defer cancel()
	var results []<-chan error
	for _, m := range members {
		results = append(results, start(m))
	}
	for i, m := range members {
		m.log(method, hookTimeout, wait(ctx, results[i]))
	}
}

// finish ends the drain, and returns the members that resume.
func (d *Drain) finish() (members []*member) {
	g := d.group
	g.mu.Lock()
	defer g.mu.Unlock()
	if d.sealed {
		g.sealed--
	}
	g.drains--
	g.resuming++
	g.change()
	if g.drains == 0 {
		g.draining = nil
		for _, m := range g.members {
			m.early = false
		}
	}
	return g.takeResuming()
}

// takeResuming returns the members that are quiesced, and are due no longer. Their Resume is called
// next. It is called with g locked.
func (g *Group) takeResuming() (members []*member) {
	for _, m := range g.members {
		if m.quiesced && !g.isDue(m) {
			m.quiesced = false
			members = append(members, m)
		}
	}
	return members
}

const (
	// rollbackTimeout is the DrainTimeout of a version that is rolled back.
	rollbackTimeout = 2 * time.Second

	// rollbackLimit is how long its drain takes at most, whatever its drainers do.
	rollbackLimit = rollbackTimeout + 2*hookTimeout
)

// BeginRollback is Begin and Seal for a version that failed. The caller calls resume
// where no exec follows.
func (g *Group) BeginRollback() (quiesced, drained time.Time, resume func()) {
	limit, cancel := context.WithTimeout(context.Background(), rollbackLimit)
	defer cancel()
	begun := make(chan Drained, 1)
	go func() {
		d, _ := g.Begin(context.Background(), rollbackTimeout, nil)
		if limit.Err() == nil {
			d.Seal() // its error, see End, does not prevent a rollback
		}
		begun <- d
	}()
	select {
	case d := <-begun:
		quiesced, drained = d.Times()
		return quiesced, drained, d.Resume
	case <-limit.Done():
		report.Warn("not drained: a Drainer does not return", "after", rollbackLimit.String())
		g.callBeforeSeal()
		now := time.Now()
		return now, now, func() { go func() { (<-begun).Resume() }() }
	}
}
