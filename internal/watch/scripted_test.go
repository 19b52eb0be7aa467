package watch

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/autorestart-go/autorestart/internal/candidate"
	"github.com/autorestart-go/autorestart/internal/candidate/candidatetest"
	"github.com/autorestart-go/autorestart/internal/elfimage/elftest"
)

// scriptedEvents is an event source that does as it is told, in the time of a
// synctest bubble.
type scriptedEvents struct {
	happen chan struct{} // an event for each

	mu     sync.Mutex
	arms   []error // the answers to the next calls of Arm; then nil
	missed bool    // whether the next Arm says that something may have happened
	waits  []time.Duration
	armed  int
	opened int
	closed bool
}

// Open opens the source itself.
func (e *scriptedEvents) Open() (Source, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.opened++
	e.closed = false
	return e, nil
}

// fail lets the next calls of Arm fail.
func (e *scriptedEvents) fail(reasons ...error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.arms = reasons
}

// seen returns how often Arm was called, and how long Wait was to wait.
func (e *scriptedEvents) seen() (armed int, waits []time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.armed, slices.Clone(e.waits)
}

// lastWait returns how long the last Wait was to wait.
func (e *scriptedEvents) lastWait() time.Duration {
	_, waits := e.seen()
	return waits[len(waits)-1]
}

func (e *scriptedEvents) Arm(string) (bool, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.armed++
	var err error
	if len(e.arms) > 0 {
		err, e.arms = e.arms[0], e.arms[1:]
	}
	missed := e.missed
	e.missed = false
	return missed, err
}

func (e *scriptedEvents) Wait(ctx context.Context, d time.Duration, _ EntryID) (bool, error) {
	e.mu.Lock()
	e.waits = append(e.waits, d)
	e.mu.Unlock()
	var expired <-chan time.Time
	if d > 0 {
		expired = time.After(d)
	}
	select {
	case <-e.happen:
		return true, nil
	case <-expired:
		return false, nil
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
}

func (e *scriptedEvents) Close() error {
	e.closed = true
	return nil
}

const app = "/srv/app"

// testWatcher watches a path in memory where version 1, which runs, has been deployed.
type testWatcher struct {
	*Watcher
	sys    *candidatetest.System
	events *scriptedEvents
	logged *capturedLog
}

func newTestWatcher(t *testing.T) *testWatcher {
	t.Helper()
	sys := new(candidatetest.System)
	sys.Deploy(app, elftest.Program(1), 0o755)
	sys.Run(app)
	w := &testWatcher{sys: sys, events: &scriptedEvents{happen: make(chan struct{})}, logged: new(capturedLog)}
	w.Watcher = &Watcher{Path: app, Rules: candidate.NewRules(sys, app), Events: w.events, Logger: w.logged}
	t.Cleanup(func() {
		w.Close()
		if n := sys.OpenFiles(); n != 0 {
			t.Errorf("%d files are open", n)
		}
	})
	return w
}

// deploy deploys a version for the machine of the version that runs.
func (w *testWatcher) deploy(version byte) { w.sys.Deploy(app, elftest.Program(version), 0o755) }

// happen is an event.
func (w *testWatcher) happen() { w.events.happen <- struct{}{} }

// nextResult is the result of a call of Next, and when it came.
type nextResult struct {
	candidate *candidate.Candidate
	err       error
	took      time.Duration
}

// startNext calls Next. It is in its wait when this returns, unless there is a
// result.
func (w *testWatcher) startNext(ctx context.Context) <-chan nextResult {
	results := make(chan nextResult, 1)
	go func() {
		start := time.Now()
		c, err := w.Next(ctx)
		results <- nextResult{c, err, time.Since(start)}
	}()
	synctest.Wait()
	return results
}

// wantVersion expects a candidate with the content of a version.
func wantVersion(t *testing.T, version byte, results <-chan nextResult) *candidate.Candidate {
	t.Helper()
	synctest.Wait()
	select {
	case r := <-results:
		if r.err != nil {
			t.Fatalf("version %d: %v", version, r.err)
		}
		want := elftest.Program(version)
		got := make([]byte, len(want))
		if _, err := r.candidate.File.ReadAt(got, 0); err != nil || !slices.Equal(got, want) || r.candidate.ID.Size != int64(len(want)) {
			t.Errorf("version %d: got another content, %v", version, err)
		}
		return r.candidate
	default:
		t.Fatalf("version %d: Next did not return", version)
		panic("unreachable")
	}
}

func wantNone(t *testing.T, what string, results <-chan nextResult) {
	t.Helper()
	synctest.Wait()
	select {
	case r := <-results:
		t.Fatalf("%s: Next returned %+v", what, r)
	default:
	}
}
