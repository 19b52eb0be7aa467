//go:build linux

package integrationtest

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// recorder is a Drainer that records its calls. Its Drain returns when done is closed.
type recorder struct {
	mu    sync.Mutex
	calls []string
	done  chan struct{}
}

func (r *recorder) record(call string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls = append(r.calls, call)
}

func (r *recorder) was(calls ...string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Equal(r.calls, calls)
}

func (r *recorder) Quiesce() { r.record("quiesce") }
func (r *recorder) Resume()  { r.record("resume") }

func (r *recorder) Drain(ctx context.Context) error {
	r.record("drain")
	select {
	case <-r.done:
		return nil
	case <-ctx.Done():
		return errors.New("one is left")
	}
}

func registerRecorder(t *testing.T) *recorder {
	r := &recorder{done: make(chan struct{})}
	t.Cleanup(autorestart.RegisterDrainer(r))
	return r
}

// restarterCalledOff returns a Restarter that does everything but the exec.
func restarterCalledOff(t *testing.T, before func()) *autorestart.Restarter {
	path := filepath.Join(testprocess.MemoryDir(t), "app")
	testprocess.WriteExecutable(t, path, daemontest.Image(t, 2))
	return &autorestart.Restarter{Path: path, BeforeExec: func(context.Context, *autorestart.ExecPlan) error {
		before()
		return errCalledOff
	}}
}

var errCalledOff = errors.New("called off")

func TestDrainBeforeExec(t *testing.T) {
	a, b := registerRecorder(t), registerRecorder(t)
	r := restarterCalledOff(t, func() {
		for _, d := range []*recorder{a, b} {
			if !d.was("quiesce", "drain") {
				t.Errorf("%q before BeforeExec", d.calls)
			}
		}
		select {
		case <-autorestart.Draining():
		default:
			t.Error("the channel of Draining is not closed")
		}
	})
	draining := autorestart.Draining()
	go func() {
		<-draining
		testprocess.WaitFor(t, "drain", func() bool { return a.was("quiesce", "drain") })
		close(a.done)
		close(b.done)
	}()
	if err := r.Restart(t.Context()); !errors.Is(err, errCalledOff) {
		t.Fatal(err)
	}
	for _, d := range []*recorder{a, b} {
		if !d.was("quiesce", "drain", "resume") {
			t.Errorf("called %q", d.calls)
		}
	}
	select {
	case <-autorestart.Draining():
		t.Error("still draining")
	default:
	}
}

func TestDrainTimeout(t *testing.T) {
	var logged testprocess.Log
	a := registerRecorder(t)
	r := restarterCalledOff(t, func() {})
	r.Logger = slog.New(slog.NewTextHandler(&logged, nil))
	for i, timeout := range []time.Duration{20 * time.Millisecond, -1} {
		r.DrainTimeout = timeout
		if err := r.Restart(t.Context()); !errors.Is(err, errCalledOff) {
			t.Fatal(err)
		}
		if strings.Count(logged.String(), "one is left") != i+1 {
			t.Errorf("logged %s", logged.String())
		}
	}
	if !a.was("quiesce", "drain", "resume", "quiesce", "drain", "resume") {
		t.Errorf("called %q", a.calls)
	}
}

// A restart whose context ends while it drains is called off.
func TestDrainEndsWithContext(t *testing.T) {
	a := registerRecorder(t)
	r := restarterCalledOff(t, func() { t.Error("BeforeExec was called") })
	ctx, cancel := context.WithCancelCause(t.Context())
	draining := autorestart.Draining()
	go func() {
		<-draining
		cancel(errCalledOff)
	}()
	if err := r.Restart(ctx); !errors.Is(err, errCalledOff) {
		t.Fatal(err)
	}
	if !a.was("quiesce", "drain", "resume") {
		t.Errorf("called %q", a.calls)
	}
}

// causes is an error that can't be compared with another.
type causes []string

func (c causes) Error() string { return strings.Join(c, ", ") }

// The cause of the end of a context can be any error, and is returned alone.
func TestDrainEndsWithAnyCause(t *testing.T) {
	registerRecorder(t)
	r := restarterCalledOff(t, func() { t.Error("BeforeExec was called") })
	for name, restart := range map[string]func(context.Context) error{"Restart": r.Restart, "Run": r.Run} {
		ctx, cancel := context.WithCancelCause(t.Context())
		draining := autorestart.Draining()
		go func() {
			<-draining
			cancel(causes{"the program", "stops"})
		}()
		if err := restart(ctx); err == nil || err.Error() != "the program, stops" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A Drainer that is registered after all others are drained is quiesced at once.
func TestRegisterWhileDraining(t *testing.T) {
	first := registerRecorder(t)
	close(first.done)
	var late *recorder
	r := restarterCalledOff(t, func() {
		late = registerRecorder(t)
		if !late.was("quiesce") {
			t.Errorf("called %q", late.calls)
		}
	})
	if err := r.Restart(t.Context()); !errors.Is(err, errCalledOff) {
		t.Fatal(err)
	}
	if !late.was("quiesce", "resume") {
		t.Errorf("called %q", late.calls)
	}
}

// A Drainer that is registered while others drain is drained, too.
func TestRegisterBeforeAllIsDrained(t *testing.T) {
	first := registerRecorder(t)
	registered := make(chan *recorder, 1)
	draining := autorestart.Draining()
	go func() {
		<-draining
		late := registerRecorder(t)
		registered <- late
		testprocess.WaitFor(t, "drain", func() bool { return first.was("quiesce", "drain") })
		close(first.done)
		testprocess.WaitFor(t, "drain of the late one", func() bool { return late.was("quiesce", "drain") })
		close(late.done)
	}()
	r := restarterCalledOff(t, func() {
		if late := <-registered; !late.was("quiesce", "drain") {
			t.Errorf("called %q before BeforeExec", late.calls)
		}
	})
	if err := r.Restart(t.Context()); !errors.Is(err, errCalledOff) {
		t.Fatal(err)
	}
}

// A restart whose context ends in BeforeExec is called off.
func TestContextEndsInBeforeExec(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	r := restarterCalledOff(t, nil)
	r.BeforeExec = func(context.Context, *autorestart.ExecPlan) error {
		cancel(errCalledOff)
		return os.Remove(r.Path) // so that no exec can replace this process
	}
	if err := r.Restart(ctx); !errors.Is(err, errCalledOff) || errors.Is(err, os.ErrNotExist) {
		t.Fatalf("%v, expected only %v", err, errCalledOff)
	}
}

// Restarts at once take turns, each with a drain of its own.
func TestRestartsWhileDraining(t *testing.T) {
	a := registerRecorder(t)
	var mu sync.Mutex
	inside := 0
	r := restarterCalledOff(t, func() {
		mu.Lock()
		defer mu.Unlock()
		inside++
	})
	draining := autorestart.Draining()
	results := make(chan error)
	for range 2 {
		go func() { results <- r.Restart(t.Context()) }()
	}
	<-draining
	close(a.done)
	for range 2 {
		if err := <-results; !errors.Is(err, errCalledOff) {
			t.Error(err)
		}
	}
	if !a.was("quiesce", "drain", "resume", "quiesce", "drain", "resume") || inside != 2 {
		t.Errorf("called %q, BeforeExec %d times", a.calls, inside)
	}
}

func TestUnregisteredIsNotDrained(t *testing.T) {
	r := &recorder{done: make(chan struct{})}
	autorestart.RegisterDrainer(r)()
	if err := restarterCalledOff(t, func() {}).Restart(t.Context()); !errors.Is(err, errCalledOff) {
		t.Fatal(err)
	}
	if !r.was() {
		t.Errorf("called %q", r.calls)
	}
}
