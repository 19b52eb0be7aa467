package drain

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// recorder is a Drainer that notes its calls. Drain returns when done is closed or its
// context ends.
type recorder struct {
	mu    sync.Mutex
	calls []string
	done  chan struct{}
}

func newRecorder() *recorder { return &recorder{done: make(chan struct{})} }

func (r *recorder) note(call string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls = append(r.calls, call)
}

func (r *recorder) check(t *testing.T, want ...string) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Equal(r.calls, want) {
		t.Errorf("called %q, want %q", r.calls, want)
	}
}

func (r *recorder) Quiesce() { r.note("quiesce") }
func (r *recorder) Resume()  { r.note("resume") }

func (r *recorder) Drain(ctx context.Context) error {
	r.note("drain")
	select {
	case <-r.done:
		return nil
	case <-ctx.Done():
		return errors.New("one is left")
	}
}

func TestNotifier(t *testing.T) {
	var g Group
	if g.Notifier() != nil {
		t.Error("an empty group would notice a drain")
	}
	g.Draining()
	if g.Notifier() == nil {
		t.Error("the channel of Draining would notice a drain")
	}
	var other Group
	other.Register(newRecorder())
	if other.Notifier() == nil {
		t.Error("a drainer would notice a drain")
	}
}

func TestBegin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Group
		quick, slow := newRecorder(), newRecorder()
		close(quick.done)
		g.Register(quick)
		unregister := g.Register(slow)
		draining := g.Draining()
		start := time.Now()
		d, err := g.Begin(t.Context(), time.Minute, nil)
		if err != nil {
			t.Fatal(err)
		}
		<-draining
		if quiesced, drained := d.Times(); !quiesced.Equal(start) || drained.Sub(start) != time.Minute {
			t.Errorf("quiesced after %v, drained after %v", quiesced.Sub(start), drained.Sub(start))
		}
		unregister()
		d.Resume()
		quick.check(t, "quiesce", "drain", "resume")
		slow.check(t, "quiesce", "drain")
		select {
		case <-g.Draining():
			t.Error("draining after the resume")
		default:
		}
	})
}

func TestBeginEndsWithContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Group
		r := newRecorder()
		g.Register(r)
		cause := errors.New("called off")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(cause) })
		if _, err := g.Begin(ctx, time.Minute, nil); err != cause {
			t.Errorf("got %v, want %v", err, cause)
		}
		r.check(t, "quiesce", "drain", "resume")
	})
}

// TestRegisteredDuringDrain: a drainer that is registered while others drain is
// drained, too.
func TestRegisteredDuringDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Group
		first, second := newRecorder(), newRecorder()
		g.Register(first)
		time.AfterFunc(time.Second, func() {
			g.Register(second)
			close(first.done)
		})
		time.AfterFunc(2*time.Second, func() { close(second.done) })
		start := time.Now()
		d, err := g.Begin(t.Context(), time.Minute, nil)
		if err != nil || time.Since(start) != 2*time.Second {
			t.Fatalf("after %v: %v", time.Since(start), err)
		}
		second.check(t, "quiesce", "drain")
		d.Resume()
	})
}

// stuck never returns from Quiesce until it is released.
type stuck chan struct{}

func (s stuck) Quiesce()                    { <-s }
func (s stuck) Drain(context.Context) error { return nil }
func (s stuck) Resume()                     {}

func TestRollbackDoesNotWaitForStuckDrainer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Group
		s := make(stuck)
		g.Register(s)
		start := time.Now()
		_, _, resume := g.BeginRollback()
		if took := time.Since(start); took > rollbackLimit {
			t.Errorf("waited for %v, want at most %v", took, rollbackLimit)
		}
		resume()
		close(s)
		synctest.Wait()
		if g.drains != 0 {
			t.Errorf("%d drains are under way", g.drains)
		}
	})
}

func TestRollbackDuringDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Group
		r := newRecorder()
		g.Register(r)
		d, err := g.Begin(t.Context(), 0, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, _, resume := g.BeginRollback()
		d.Resume()
		r.check(t, "quiesce", "drain", "drain")
		resume()
		r.check(t, "quiesce", "drain", "drain", "resume")
	})
}

// TestSeal: what is registered after the drain is drained before the exec, and after that
// nothing is registered until the resume.
func TestSeal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Group
		sealed := 0
		remove := g.BeforeSeal(func() { sealed++ })
		d, err := g.Begin(t.Context(), time.Minute, nil)
		if err != nil {
			t.Fatal(err)
		}
		late := newRecorder()
		g.Register(late)
		late.check(t, "quiesce")
		time.AfterFunc(time.Second, func() { close(late.done) })
		start := time.Now()
		d.Seal()
		if took := time.Since(start); took != time.Second || sealed != 1 {
			t.Errorf("sealed %d times after %v", sealed, took)
		}
		late.check(t, "quiesce", "drain")
		tooLate := newRecorder()
		registered := false
		go func() {
			g.Register(tooLate)
			registered = true
		}()
		synctest.Wait()
		if registered {
			t.Error("registered in a sealed group")
		}
		d.Resume()
		synctest.Wait()
		late.check(t, "quiesce", "drain", "resume")
		tooLate.check(t)
		if !registered {
			t.Error("not registered after the resume")
		}
		remove()
	})
}

// TestEnd: a program that is about to end is not executed any more, also if it has no drainers, and is still rolled back.
func TestEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Group
		ending := errors.New("ending")
		g.End(ending)
		d, err := g.Notifier().Begin(t.Context(), time.Minute, nil)
		if err != nil {
			t.Fatal(err)
		}
		r := newRecorder()
		close(r.done)
		g.Register(r)
		if err := d.Seal(); err != ending {
			t.Errorf("%v, want %v", err, ending)
		}
		d.Resume()
		r.check(t, "quiesce", "drain", "resume")
		sealed := false
		defer g.BeforeSeal(func() { sealed = true })()
		_, _, resume := g.BeginRollback()
		resume()
		if !sealed {
			t.Error("a rollback was not sealed")
		}
	})
}

// TestOpening: what is opened during a drain is drained, and nothing is opened right before
// the exec.
func TestOpening(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Group
		g.AlwaysNotify()
		before, err := g.Opening(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		d, took := begin(t, &g, time.Minute, time.Hour)
		if took != 0 {
			t.Errorf("waited %v for what is being opened", took)
		}
		during, err := g.Opening(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var members []*recorder
		for i, done := range []func(){before, during} {
			r := newRecorder()
			close(r.done)
			members = append(members, r)
			time.AfterFunc(time.Duration(i+1)*hookTimeout/3, func() {
				g.Register(r)
				done()
			})
		}
		start := time.Now()
		d.Seal()
		if took := time.Since(start); took != 2*hookTimeout/3 {
			t.Errorf("sealed after %v, want %v", took, 2*hookTimeout/3)
		}
		for _, r := range members {
			r.check(t, "quiesce", "drain")
		}
		cause := errors.New("the program ends")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(cause) })
		if _, err := g.Opening(ctx); err != cause {
			t.Errorf("got %v, want %v", err, cause)
		}
		time.AfterFunc(time.Second, d.Resume)
		done, err := g.Opening(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		// An opening that never ends, as in a function of the program.
		d, _ = begin(t, &g, 0, time.Hour)
		start = time.Now()
		d.Seal()
		if took := time.Since(start); took != hookTimeout {
			t.Errorf("sealed after %v, want %v", took, hookTimeout)
		}
		done()
		d.Resume()
	})
}

// TestClaiming: nothing is claimed during a drain, and while what was drained resumes.
func TestClaiming(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Group
		r := newRecorder()
		close(r.done)
		g.Register(r)
		if waited, err := g.AwaitEnd(t.Context()); waited || err != nil {
			t.Errorf("waited %t, %v", waited, err)
		}
		d, _ := begin(t, &g, time.Minute, time.Hour)
		time.AfterFunc(time.Second, d.Resume)
		for _, claim := range []func(){
			func() { g.Claiming(t.Context()) },
			func() {
				if waited, err := g.AwaitEnd(t.Context()); !waited || err != nil {
					t.Errorf("waited %t, %v", waited, err)
				}
			},
		} {
			go func() {
				claim()
				r.check(t, "quiesce", "drain", "resume")
			}()
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		r.check(t, "quiesce", "drain", "resume")
	})
}

// TestUnregisterDuringQuiesce: after unregister no method is called, and none is running
// any more.
func TestUnregisterDuringQuiesce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Group
		quiescing, release := make(chan struct{}), make(chan struct{})
		running := false
		unregister := g.Register(&hooks{quiesce: func() {
			running = true
			close(quiescing)
			<-release
			running = false
		}})
		next := newRecorder()
		unregisterNext := g.Register(next)
		close(next.done)
		begun := make(chan Drained)
		go func() {
			d, _ := g.Begin(t.Context(), time.Minute, nil)
			begun <- d
		}()
		<-quiescing
		unregisterNext()
		time.AfterFunc(hookTimeout/2, func() { close(release) })
		unregister()
		if running {
			t.Error("unregistered during Quiesce")
		}
		(<-begun).Resume()
		next.check(t)
	})
}
