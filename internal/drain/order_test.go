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

// A sequence notes the calls of several Drainers.
type sequence struct {
	mu    sync.Mutex
	calls []string
}

func (s *sequence) note(call string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, call)
}

// want compares the calls since the last want.
func (s *sequence) want(t *testing.T, want ...string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Equal(s.calls, want) {
		t.Errorf("called %q\nwant   %q", s.calls, want)
	}
	s.calls = nil
}

// ordered is a Drainer with a DrainOrder. Its Drain takes some time.
type ordered struct {
	name  string
	order int
	takes time.Duration
	calls *sequence
}

func (o *ordered) DrainOrder() int { return o.order }
func (o *ordered) Quiesce()        { o.calls.note("quiesce " + o.name) }
func (o *ordered) Resume()         { o.calls.note("resume " + o.name) }

func (o *ordered) Drain(ctx context.Context) error {
	select {
	case <-time.After(o.takes):
		o.calls.note("drained " + o.name)
		return nil
	case <-ctx.Done():
		o.calls.note("cut " + o.name)
		return errors.New("cut")
	}
}

func (s *sequence) member(name string, order int, takes time.Duration) *ordered {
	return &ordered{name, order, takes, s}
}

// A stage begins when the one before is drained. They resume in the opposite order.
func TestStages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Group
		var s sequence
		for _, m := range []*ordered{
			s.member("metrics", 20, 0), s.member("web", 0, 2*time.Second), s.member("database", 10, time.Second),
			s.member("api", 0, time.Second), s.member("early", -1, 0),
		} {
			g.Register(m)
		}
		g.Register(&hooks{quiesce: func() { s.note("quiesce plain") }}) // without DrainOrder
		draining := g.Draining()
		start := time.Now()
		time.AfterFunc(2*time.Second-1, func() {
			<-draining
			s.want(t, "quiesce early", "drained early", "quiesce web", "quiesce api", "quiesce plain", "drained api")
		})
		d, err := g.Begin(t.Context(), time.Minute, nil)
		if err != nil {
			t.Fatal(err)
		}
		s.want(t, "drained web", "quiesce database", "drained database", "quiesce metrics", "drained metrics")
		if quiesced, drained := d.Times(); quiesced.Sub(start) != 3*time.Second || drained.Sub(start) != 3*time.Second {
			t.Errorf("quiesced after %v, drained after %v", quiesced.Sub(start), drained.Sub(start))
		}
		d.Resume()
		s.want(t, "resume metrics", "resume database", "resume api", "resume web", "resume early")
	})
}

// All stages have one limit. When it is up, everything that is left is quiesced and cut at once.
func TestStagesShareTheTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, timeout := range []time.Duration{10 * time.Second, -1} {
			lines := logLines()
			var g Group
			var s sequence
			stuck := make(chan struct{})
			g.Register(&hooks{drain: func(context.Context) error { <-stuck; return nil }})
			g.Register(s.member("web", 0, time.Hour))
			g.Register(s.member("idle", 20, 0))
			g.Register(s.member("database", 10, time.Hour))
			d, took := begin(t, &g, timeout, time.Minute)
			if want := max(timeout, 0) + hookTimeout; took != want {
				t.Errorf("took %v, want %v", took, want)
			}
			lines.want(t, "closing what is not done")
			if n := len(d.Unfinished()); n < 3 {
				t.Errorf("unfinished: %q", d.Unfinished())
			}
			s.mu.Lock()
			quiesced := slices.DeleteFunc(s.calls, func(call string) bool { return call[0] != 'q' })
			if want := []string{"quiesce web", "quiesce database", "quiesce idle"}; !slices.Equal(quiesced, want) {
				t.Errorf("%q, want %q", quiesced, want)
			}
			s.calls = nil
			s.mu.Unlock()
			d.Resume()
			s.want(t, "resume idle", "resume database", "resume web")
			close(stuck)
		}
	})
}

// If the drain is called off, the stages that have not begun notice nothing.
func TestCalledOffBeforeTheNextStage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Group
		var s sequence
		g.Register(s.member("database", 10, 0))
		g.Register(s.member("web", 0, time.Hour))
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		if _, err := g.Begin(ctx, time.Minute, nil); err != context.Canceled {
			t.Error(err)
		}
		s.want(t, "quiesce web", "cut web", "resume web")
	})
}

// What is registered during a drain is quiesced when its stage comes, or has come.
func TestRegisteredBeforeItsStage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Group
		var s sequence
		g.Register(s.member("web", 5, 2*time.Second))
		time.AfterFunc(time.Second, func() {
			g.Register(s.member("database", 10, 0))
			g.Register(s.member("same", 5, time.Second/2))
			g.Register(s.member("before", 1, 3*time.Second))
			g.Register(s.member("gone", 10, 0))()
		})
		d, err := g.Begin(t.Context(), time.Minute, nil)
		if err != nil {
			t.Fatal(err)
		}
		s.want(t, "quiesce web", "quiesce same", "quiesce before", "drained same", "drained web", "drained before", "quiesce database", "drained database")
		g.Register(s.member("later", 20, 0)) // all stages have come
		s.want(t, "quiesce later")
		d.Seal()
		s.want(t, "drained later")
		d.Resume()
		s.want(t, "resume later", "resume database", "resume same", "resume web", "resume before")
	})
}

// A member can be quiesced before its stage.
func TestQuiesceNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Group
		var s sequence
		database := s.member("database", 10, time.Second)
		if g.QuiesceNow(database) {
			t.Error("an empty group is drained")
		}
		g.Register(s.member("metrics", 10, 0))
		g.Register(database)
		web := s.member("web", 0, 2*time.Second)
		g.Register(web)
		if g.QuiesceNow(database) {
			t.Error("quiesced without a drain")
		}
		time.AfterFunc(time.Second, func() {
			for range 2 {
				if !g.QuiesceNow(database) || !g.QuiesceNow(web) || g.QuiesceNow(s.member("unknown", 0, 0)) {
					t.Error("no drain is under way")
				}
			}
		})
		d, err := g.Begin(t.Context(), time.Minute, nil)
		if err != nil {
			t.Fatal(err)
		}
		s.want(t, "quiesce web", "quiesce database", "drained web", "quiesce metrics", "drained metrics", "drained database")
		d.Resume()
		s.want(t, "resume database", "resume metrics", "resume web")
	})
}

// A group that is held drains its stages in order, and is released in the opposite one.
func TestStagesWhileHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Group
		var s sequence
		g.Hold()
		g.Register(s.member("database", 10, 0))
		g.Register(s.member("web", 0, time.Second))
		s.want(t, "quiesce database", "quiesce web")
		d, err := g.Begin(t.Context(), time.Minute, nil)
		if err != nil {
			t.Fatal(err)
		}
		s.want(t, "drained web", "drained database")
		d.Resume()
		time.AfterFunc(time.Second/2, g.Release) // before the stage of the database
		if d, err = g.Begin(t.Context(), time.Minute, nil); err != nil {
			t.Fatal(err)
		}
		s.want(t, "resume database", "drained web", "quiesce database", "drained database")
		d.Resume()
		s.want(t, "resume database", "resume web")
	})
}

// A version that is rolled back has little time for all stages together.
func TestRollbackThroughStages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Group
		var s sequence
		g.Register(s.member("database", 10, time.Hour))
		g.Register(s.member("web", 0, time.Hour))
		first, err := g.Begin(t.Context(), 0, nil)
		if err != nil {
			t.Fatal(err)
		}
		s.calls = nil
		start := time.Now()
		_, _, resume := g.BeginRollback() // also during another drain
		if took := time.Since(start); took != rollbackTimeout {
			t.Errorf("took %v, want %v", took, rollbackTimeout)
		}
		slices.Sort(s.calls) // both at once
		s.want(t, "cut database", "cut web")
		first.Resume()
		s.want(t)
		resume()
		s.want(t, "resume database", "resume web")
	})
}

// The Drain of a stage whose Quiesce has taken up the rest of the time is called.
func TestSlowQuiesceOfLastStage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Group
		var s sequence
		g.Register(s.member("web", 0, 9500*time.Millisecond))
		for range 2 {
			g.Register(&slow{s.member("slow", 10, 0), 3 * time.Second})
		}
		g.Register(s.member("database", 10, time.Hour))
		d, err := g.Begin(t.Context(), 10*time.Second, nil)
		if err != nil {
			t.Fatal(err)
		}
		s.mu.Lock()
		if !slices.Contains(s.calls, "cut database") {
			t.Errorf("called %q", s.calls)
		}
		s.mu.Unlock()
		d.Resume()
		time.Sleep(time.Minute) // the slow ones return
	})
}

// slow is a Drainer whose Quiesce takes some time.
type slow struct {
	*ordered
	takes time.Duration
}

func (s *slow) Quiesce() {
	s.ordered.Quiesce()
	time.Sleep(s.takes)
}

func (*slow) Drain(context.Context) error { return nil }
func (*slow) Resume()                     {}

// A part that was quiesced before its turn has its own turn in the next drain.
func TestQuiescedEarlyOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Group
		var s sequence
		database := s.member("database", 10, 0)
		g.Register(database)
		g.Register(&hooks{quiesce: func() {
			s.note("quiesce web")
			g.QuiesceNow(database)
		}, drain: func(context.Context) error { time.Sleep(time.Second); s.note("drained web"); return nil }})
		for range 2 {
			d, err := g.Begin(t.Context(), time.Minute, nil)
			if err != nil {
				t.Fatal(err)
			}
			s.want(t, "quiesce web", "quiesce database", "drained web", "drained database")
			d.Resume()
			s.want(t, "resume database")
		}
	})
}
