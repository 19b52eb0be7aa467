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
		d, err := g.Begin(t.Context(), time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		<-draining
		if !d.Quiesced.Equal(start) || d.Drained.Sub(start) != time.Minute {
			t.Errorf("quiesced after %v, drained after %v", d.Quiesced.Sub(start), d.Drained.Sub(start))
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
		if _, err := g.Begin(ctx, time.Minute); err != cause {
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
		d, err := g.Begin(t.Context(), time.Minute)
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
		resume := g.BeginRollback()
		if took := time.Since(start); took != stuckTimeout {
			t.Errorf("waited for %v, want %v", took, stuckTimeout)
		}
		resume()
		close(s)
		synctest.Wait()
		if g.depth != 0 {
			t.Errorf("%d drains are under way", g.depth)
		}
	})
}

func TestRollbackDuringDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Group
		r := newRecorder()
		g.Register(r)
		d, err := g.Begin(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		resume := g.BeginRollback()
		d.Resume()
		r.check(t, "quiesce", "drain", "drain")
		resume()
		r.check(t, "quiesce", "drain", "drain", "resume")
	})
}

// TestRollbackDuringStuckDrain: the group is locked by a drainer that does not return
// from a restart, and the rollback does not wait for that either. It takes real time: a
// simulated clock stands still while a goroutine waits for a mutex.
func TestRollbackDuringStuckDrain(t *testing.T) {
	var g Group
	s := make(stuck)
	g.Register(s)
	begun := make(chan struct{})
	go func() {
		close(begun)
		g.Begin(context.Background(), time.Minute)
	}()
	<-begun
	for g.mu.TryLock() { // until the group is locked by its drainer
		g.mu.Unlock()
		time.Sleep(time.Millisecond)
	}
	resumed := make(chan func())
	go func() { resumed <- g.Notifier().BeginRollback() }()
	select {
	case resume := <-resumed:
		close(s)
		resume()
	case <-time.After(20 * time.Second):
		t.Fatal("waits for the stuck drainer")
	}
}
