package drain

import (
	"context"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/autorestart-go/autorestart/internal/report"
)

// hooks is a Drainer made of functions; nil ones return at once.
type hooks struct {
	quiesce, resume func()
	drain           func(context.Context) error
}

func (h *hooks) Quiesce() { call(h.quiesce) }
func (h *hooks) Resume()  { call(h.resume) }

func (h *hooks) Drain(ctx context.Context) error {
	if h.drain == nil {
		return nil
	}
	return h.drain(ctx)
}

func call(f func()) {
	if f != nil {
		f()
	}
}

// logged has the log lines of a test.
type logged struct {
	mu    sync.Mutex
	lines []string
}

func (l *logged) Info(msg string, args ...any)  { l.Warn(msg, args...) }
func (l *logged) Error(msg string, args ...any) { l.Warn(msg, args...) }
func (l *logged) Warn(msg string, args ...any) {
	line := msg
	for _, arg := range args {
		switch arg := arg.(type) {
		case string:
			line += " " + arg
		case error:
			line += " " + arg.Error()
		}
	}
	l.mu.Lock()
	l.lines = append(l.lines, line)
	l.mu.Unlock()
}

func (l *logged) want(t *testing.T, parts ...string) {
	t.Helper()
	synctest.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	all := strings.Join(l.lines, "\n")
	for _, part := range parts {
		if !strings.Contains(all, part) {
			t.Errorf("logged %q, want %q in it", all, part)
		}
	}
}

func logLines() *logged {
	l := new(logged)
	report.SetLogger(l)
	return l
}

// begin returns how long Begin took, within the limit.
func begin(t *testing.T, g *Group, timeout, limit time.Duration) (d Drained, took time.Duration) {
	t.Helper()
	start := time.Now()
	begun := make(chan Drained, 1)
	go func() {
		d, err := g.Begin(context.Background(), timeout, nil)
		if err != nil {
			t.Error(err)
		}
		begun <- d
	}()
	select {
	case d = <-begun:
		return d, time.Since(start)
	case <-time.After(limit):
		t.Fatalf("Begin has not returned after %v", limit)
		return nil, 0
	}
}

// TestDrainIgnoresContext: a Drain that ignores the end of its context does not hold the
// restart up.
func TestDrainIgnoresContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lines := logLines()
		var g Group
		release := make(chan struct{})
		g.Register(&hooks{drain: func(context.Context) error { <-release; return nil }})
		d, _ := begin(t, &g, time.Second, time.Minute)
		lines.want(t, "Drain", "*drain.hooks")
		close(release)
		d.Resume()
	})
}

// TestQuiesceBlocks: the restart does not wait for a Quiesce that does not return, and the
// other drainers are quiesced. Resume is not called before that Quiesce has returned.
func TestQuiesceBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lines := logLines()
		var g Group
		release := make(chan struct{})
		resumed := make(chan struct{})
		g.Register(&hooks{quiesce: func() { <-release }, resume: func() { close(resumed) }})
		other := newRecorder()
		close(other.done)
		g.Register(other)
		d, _ := begin(t, &g, time.Second, time.Minute)
		lines.want(t, "Quiesce", "*drain.hooks")
		other.check(t, "quiesce", "drain")
		d.Resume()
		other.check(t, "quiesce", "drain", "resume")
		select {
		case <-resumed:
			t.Error("resumed during Quiesce")
		default:
		}
		close(release)
		<-resumed
	})
}

// TestResumeBlocks: a Resume that does not return holds nothing up but its own drainer.
func TestResumeBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lines := logLines()
		var g Group
		other := newRecorder()
		close(other.done)
		g.Register(other)
		release := make(chan struct{})
		g.Register(&hooks{resume: func() { <-release }})
		d, _ := begin(t, &g, time.Second, time.Minute)
		d.Resume()
		other.check(t, "quiesce", "drain", "resume")
		lines.want(t, "Resume", "*drain.hooks")
		d, _ = begin(t, &g, time.Second, time.Minute)
		close(release)
		d.Resume()
	})
}

// TestHooksCallBack: a drainer may use the package in each of its methods.
func TestHooksCallBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Group
		use := func() {
			g.Draining()
			g.Register(new(hooks))()
		}
		g.Register(&hooks{quiesce: use, resume: use, drain: func(context.Context) error { use(); return nil }})
		d, took := begin(t, &g, time.Minute, time.Hour)
		if took != 0 {
			t.Errorf("took %v", took)
		}
		d.Resume()
	})
}

// TestHooksPanic: a panic counts as an error of the method, and is logged.
func TestHooksPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lines := logLines()
		var g Group
		g.Register(&hooks{
			quiesce: func() { panic("in quiesce") },
			drain:   func(context.Context) error { panic("in drain") },
			resume:  func() { panic("in resume") },
		})
		other := newRecorder()
		close(other.done)
		g.Register(other)
		d, _ := begin(t, &g, time.Minute, time.Hour)
		d.Resume()
		other.check(t, "quiesce", "drain", "resume")
		lines.want(t, "in quiesce", "in drain", "in resume")
	})
}

// A function that ends its goroutine, as testing.T.FailNow does, is not waited for until its time
// is up: clients wait meanwhile.
func TestHookEndsItsGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h Hook
		start := time.Now()
		for range 2 {
			err := h.CallWithin(t.Context(), time.Minute, func(context.Context) error {
				runtime.Goexit()
				return nil
			})
			if _, ok := err.(*PanicError); !ok {
				t.Errorf("%v, want a PanicError", err)
			}
		}
		if took := time.Since(start); took > 0 {
			t.Errorf("it was waited for during %v", took)
		}
	})
}
