//go:build linux

package integrationtest

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/autorestarttest"
	"github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/daemontest/program"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// aGate calls its functions, and has the results.
type aGate struct {
	acquire func(ctx context.Context, c autorestart.Change) ([]byte, error)
	release func(autorestart.GateResult) error
	results chan autorestart.GateResult
}

func newGate(acquire func(context.Context, autorestart.Change) ([]byte, error)) *aGate {
	return &aGate{acquire: acquire, results: make(chan autorestart.GateResult, 100)}
}

func (g *aGate) Acquire(ctx context.Context, c autorestart.Change, _ *os.File) ([]byte, error) {
	return g.acquire(ctx, c)
}

func (g *aGate) Release(_ context.Context, r autorestart.GateResult) error {
	g.results <- r
	if g.release != nil {
		return g.release(r)
	}
	return nil
}

// want waits for the next result.
func (g *aGate) want(t *testing.T, outcome autorestart.GateOutcome, state string) error {
	t.Helper()
	r, _ := testprocess.Receive(t, "release", g.results)
	if r.Outcome != outcome || string(r.State) != state || (r.Err == nil) != (outcome == autorestart.GateReady) {
		t.Errorf("released with %v, %q, %v; want %v, %q", r.Outcome, r.State, r.Err, outcome, state)
	}
	return r.Err
}

func always(state string) func(context.Context, autorestart.Change) ([]byte, error) {
	return func(context.Context, autorestart.Change) ([]byte, error) { return []byte(state), nil }
}

// The Gate of each image is told, and one that was started afresh has no state.
func TestGateIsToldByEachImage(t *testing.T) {
	program.NeedRollback(t)
	p := autorestarttest.NewProcess(t)
	first, second, third := newGate(always("one")), newGate(always("two")), newGate(always("three"))
	autorestart.Ready()
	p.Restart(&autorestart.Restarter{Gate: first, TrustAnyOwner: true})
	first.want(t, autorestart.GateReady, "")
	autorestart.Ready()
	p.Restart(&autorestart.Restarter{Gate: second, TrustAnyOwner: true, ReadyTimeout: time.Hour})
	second.want(t, autorestart.GateReady, "one")
	p.RollBack(errors.New("it is no good"))
	autorestart.Ready()
	another := deployed(t, third)
	another.BeforeExec = nil
	failed := p.FailRestart(another, nil)
	if err := third.want(t, autorestart.GateRolledBack, "two"); !strings.Contains(err.Error(), "it is no good") {
		t.Error(err)
	}
	if err := third.want(t, autorestart.GateCalledOff, "three"); failed == nil || err != failed {
		t.Errorf("called off for %v, but Restart has returned %v", err, failed)
	}
	for _, g := range []*aGate{first, second, third} {
		if len(g.results) > 0 {
			t.Errorf("told once more: %+v", <-g.results)
		}
	}
}

// deployed returns a Restarter of a file that is another version, and must not be executed.
func deployed(t *testing.T, g autorestart.Gate) *autorestart.Restarter {
	t.Helper()
	path := filepath.Join(testprocess.MemoryDir(t), "app")
	testprocess.WriteExecutable(t, path, daemontest.Image(t, 2))
	return &autorestart.Restarter{Path: path, Gate: g, BeforeExec: func(context.Context, *autorestart.ExecPlan) error { return errCalledOff }}
}

// A restart that is called off gives the leave back before it returns, if its context has ended.
func TestGateIsToldOfEnd(t *testing.T) {
	autorestarttest.NewProcess(t)
	autorestart.Ready()
	ctx, cancel := context.WithCancelCause(t.Context())
	g := newGate(always("x"))
	r := deployed(t, g)
	r.BeforeExec = func(ctx context.Context, _ *autorestart.ExecPlan) error {
		cancel(errCalledOff)
		return context.Cause(ctx)
	}
	if err := r.Restart(ctx); !errors.Is(err, errCalledOff) {
		t.Errorf("Restart has returned %v", err)
	}
	g.want(t, autorestart.GateReady, "")
	if len(g.results) != 1 {
		t.Fatalf("%d results when Restart has returned", len(g.results))
	}
	g.want(t, autorestart.GateCalledOff, "x")
}

// What Acquire returns after the end of its context is given back.
func TestLateLeaveIsGivenBack(t *testing.T) {
	autorestarttest.NewProcess(t)
	autorestart.Ready()
	ctx, cancel := context.WithCancel(t.Context())
	late := make(chan bool)
	g := newGate(func(context.Context, autorestart.Change) ([]byte, error) {
		cancel()
		<-late
		return []byte("late"), nil
	})
	if err := deployed(t, g).Restart(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Restart has returned %v", err)
	}
	close(late)
	g.want(t, autorestart.GateReady, "")
	g.want(t, autorestart.GateCalledOff, "late")
}

// A Gate that panics refuses, or is not told. The next restart asks again.
func TestGatePanics(t *testing.T) {
	autorestarttest.NewProcess(t)
	autorestart.Ready()
	var logged testprocess.Log
	g := newGate(func(context.Context, autorestart.Change) ([]byte, error) { panic("in Acquire") })
	g.release = func(autorestart.GateResult) error { panic("in Release") }
	r := deployed(t, g)
	r.Logger = slog.New(slog.NewTextHandler(&logged, nil))
	err := r.Restart(t.Context())
	if rejected, ok := errors.AsType[*autorestart.RejectedError](err); !ok || rejected.Retryable || !strings.Contains(rejected.Found, "in Acquire") {
		t.Errorf("Restart has returned %v", err)
	}
	testprocess.WaitFor(t, "log line", func() bool {
		return strings.Contains(logged.String(), "the gate does not know how a restart has ended") && strings.Contains(logged.String(), "in Release")
	})
	g.acquire = always("")
	if err := r.Restart(t.Context()); err != errCalledOff {
		t.Errorf("then Restart has returned %v", err)
	}
}

// An error that may pass rejects nothing.
func TestRetryableErrorOfGate(t *testing.T) {
	autorestarttest.NewProcess(t)
	autorestart.Ready()
	calls := 0
	own := &autorestart.RejectedError{Found: "a full house", Expected: "room", Retryable: true}
	r := deployed(t, newGate(func(context.Context, autorestart.Change) ([]byte, error) {
		if calls++; calls < 3 {
			return nil, own
		}
		return nil, nil
	}))
	events := observe(r)
	if err := r.Restart(t.Context()); err != errCalledOff || calls != 3 {
		t.Errorf("Restart has returned %v after %d calls", err, calls)
	}
	events.want(t, autorestart.EventSeen)
	events.want(t, autorestart.EventWaiting)
	if e := events.want(t, autorestart.EventRejected); !strings.Contains(e.Err.Error(), "a full house") || own.Path != "" {
		t.Error(e.Err, own.Path)
	}
	events.want(t, autorestart.EventDraining)
	if e := events.want(t, autorestart.EventRejected); e.Err != errCalledOff {
		t.Error(e.Err)
	}
	events.wantNoMore(t)
}

// A wait is observed once for each file, and again if a later one is long.
func TestLongWaitIsObservedAgain(t *testing.T) {
	autorestarttest.NewProcess(t)
	autorestart.Ready()
	calls := 0
	r := deployed(t, newGate(func(ctx context.Context, _ autorestart.Change) ([]byte, error) {
		if calls++; calls < 3 {
			return nil, &autorestart.RejectedError{Found: "a full house", Expected: "room", Retryable: true}
		}
		return nil, waitFor(ctx, 1500*time.Millisecond)
	}))
	events := observe(r)
	if err := r.Restart(t.Context()); err != errCalledOff {
		t.Errorf("Restart has returned %v", err)
	}
	for _, kind := range []autorestart.EventKind{
		autorestart.EventSeen, autorestart.EventWaiting, autorestart.EventRejected,
		autorestart.EventWaiting, autorestart.EventDraining, autorestart.EventRejected,
	} {
		events.want(t, kind)
	}
	events.wantNoMore(t)
}

// A version that has waited for long is verified again. Until then no lease keeps writers away from it.
func TestVersionIsVerifiedAgainAfterLongWait(t *testing.T) {
	autorestarttest.NewProcess(t)
	autorestart.Ready()
	verified := 0
	var r *autorestart.Restarter
	for name, test := range map[string]struct {
		acquire func(ctx context.Context) error
		want    int
	}{
		"short": {func(context.Context) error { return nil }, 1},
		"long":  {func(ctx context.Context) error { return waitFor(ctx, 1500*time.Millisecond) }, 2},
	} {
		r = deployed(t, newGate(func(ctx context.Context, _ autorestart.Change) ([]byte, error) { return nil, test.acquire(ctx) }))
		verified = 0
		r.Verify = func(context.Context, *os.File) error { verified++; return nil }
		if err := r.Restart(t.Context()); err != errCalledOff || verified != test.want {
			t.Errorf("%s: Restart has returned %v, verified %d times, want %d", name, err, verified, test.want)
		}
	}
	// A version that is written meanwhile is verified as it is then.
	var once sync.Once
	r = deployed(t, newGate(func(ctx context.Context, _ autorestart.Change) (_ []byte, err error) {
		once.Do(func() {
			waitFor(ctx, 1500*time.Millisecond)
			began := time.Now()
			f, openErr := os.OpenFile(r.Path, os.O_WRONLY, 0)
			if openErr != nil {
				t.Error(openErr)
				return
			}
			f.WriteAt(daemontest.Trailer(3), int64(len(daemontest.Binary(t))))
			f.Close()
			if took := time.Since(began); took > testprocess.Timeout {
				t.Errorf("the writer has waited for %v", took)
			}
			<-ctx.Done()
			err = ctx.Err()
		})
		return nil, err
	}))
	verified = 0
	r.Verify = func(context.Context, *os.File) error { verified++; return nil }
	if err := r.Restart(t.Context()); err != errCalledOff || verified != 2 {
		t.Errorf("written meanwhile: Restart has returned %v, verified %d times", err, verified)
	}
}

func waitFor(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// The next Acquire waits until Release has returned.
func TestAcquireWaitsForRelease(t *testing.T) {
	autorestarttest.NewProcess(t)
	autorestart.Ready()
	hold := make(chan bool)
	g := newGate(always("x"))
	g.release = func(autorestart.GateResult) error { <-hold; return nil }
	r := deployed(t, g)
	ended := make(chan error, 1)
	go func() { ended <- r.Restart(t.Context()) }()
	g.want(t, autorestart.GateReady, "")
	if testprocess.Within(100*time.Millisecond, func() bool { return len(ended) > 0 }) {
		t.Error("Restart did not wait")
	}
	close(hold)
	if err, _ := testprocess.Receive(t, "end of Restart", ended); err != errCalledOff {
		t.Errorf("Restart has returned %v", err)
	}
	g.want(t, autorestart.GateCalledOff, "x")
}

// A version that never calls Ready has an outcome when its time for that is up.
func TestGateIsToldWithoutReady(t *testing.T) {
	g := newGate(always("x"))
	r := deployed(t, g)
	synctest.Test(t, func(t *testing.T) {
		autorestarttest.NewProcess(t)
		begin := time.Now()
		if err := r.Restart(t.Context()); err != errCalledOff {
			t.Errorf("Restart has returned %v", err)
		}
		if took := time.Since(begin); took < 59*time.Second || took > 61*time.Second {
			t.Errorf("told after %v", took)
		}
		synctest.Wait()
		if r := <-g.results; r.Outcome != autorestart.GateReady {
			t.Errorf("told %+v", r)
		}
	})
}
