//go:build linux

package autorestart

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// recorder is a Drainer that writes down what it is asked, and is done when done
// is closed.
type recorder struct {
	mu    sync.Mutex
	asked []string
	done  chan struct{}
}

func (r *recorder) note(what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = append(r.asked, what)
}

func (r *recorder) was(asked ...string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Equal(r.asked, asked)
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

func registerRecorder(t *testing.T) *recorder {
	r := &recorder{done: make(chan struct{})}
	t.Cleanup(RegisterDrainer(r))
	return r
}

// restarterCalledOff goes all the way but for the exec.
func restarterCalledOff(t *testing.T, before func()) *Restarter {
	path := filepath.Join(memoryDir(t), "app")
	writeExecutable(t, path, image(t, 2))
	return &Restarter{Path: path, BeforeExec: func(context.Context) error {
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
				t.Errorf("%q before BeforeExec", d.asked)
			}
		}
		select {
		case <-Draining():
		default:
			t.Error("draining isn't told")
		}
	})
	draining := Draining()
	go func() {
		<-draining
		waitFor(t, "drain", func() bool { return a.was("quiesce", "drain") })
		close(a.done)
		close(b.done)
	}()
	if err := r.Restart(t.Context()); !errors.Is(err, errCalledOff) {
		t.Fatal(err)
	}
	for _, d := range []*recorder{a, b} {
		if !d.was("quiesce", "drain", "resume") {
			t.Errorf("asked for %q", d.asked)
		}
	}
	select {
	case <-Draining():
		t.Error("still draining")
	default:
	}
}

func TestDrainTimeout(t *testing.T) {
	var logged capturedLog
	a := registerRecorder(t)
	r := restarterCalledOff(t, func() {})
	r.Logger = &logged
	for _, timeout := range []time.Duration{20 * time.Millisecond, -1} {
		r.DrainTimeout = timeout
		if err := r.Restart(t.Context()); !errors.Is(err, errCalledOff) {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(logged.lines, func(line string) bool { return strings.Contains(line, "one is left") }) {
			t.Errorf("logged %q", logged.lines)
		}
		logged.lines = nil
	}
	if !a.was("quiesce", "drain", "resume", "quiesce", "drain", "resume") {
		t.Errorf("asked for %q", a.asked)
	}
}

// TestDrainEndsWithContext: what was asked for is not wanted any more.
func TestDrainEndsWithContext(t *testing.T) {
	a := registerRecorder(t)
	r := restarterCalledOff(t, func() { t.Error("BeforeExec was called") })
	ctx, cancel := context.WithCancelCause(t.Context())
	draining := Draining()
	go func() {
		<-draining
		cancel(errCalledOff)
	}()
	if err := r.Restart(ctx); !errors.Is(err, errCalledOff) {
		t.Fatal(err)
	}
	if !a.was("quiesce", "drain", "resume") {
		t.Errorf("asked for %q", a.asked)
	}
}

// TestRegisterWhileDraining: what starts too late rests at once, and resumes.
func TestRegisterWhileDraining(t *testing.T) {
	first := registerRecorder(t)
	close(first.done)
	var late *recorder
	r := restarterCalledOff(t, func() {
		late = registerRecorder(t)
		if !late.was("quiesce") {
			t.Errorf("asked for %q", late.asked)
		}
	})
	if err := r.Restart(t.Context()); !errors.Is(err, errCalledOff) {
		t.Fatal(err)
	}
	if !late.was("quiesce", "resume") {
		t.Errorf("asked for %q", late.asked)
	}
}

// TestRegisterBeforeAllIsDrained: it is drained, too.
func TestRegisterBeforeAllIsDrained(t *testing.T) {
	first := registerRecorder(t)
	registered := make(chan *recorder, 1)
	draining := Draining()
	go func() {
		<-draining
		late := registerRecorder(t)
		registered <- late
		waitFor(t, "drain", func() bool { return first.was("quiesce", "drain") })
		close(first.done)
		waitFor(t, "drain of the late one", func() bool { return late.was("quiesce", "drain") })
		close(late.done)
	}()
	r := restarterCalledOff(t, func() {
		if late := <-registered; !late.was("quiesce", "drain") {
			t.Errorf("asked for %q before BeforeExec", late.asked)
		}
	})
	if err := r.Restart(t.Context()); !errors.Is(err, errCalledOff) {
		t.Fatal(err)
	}
}

// TestContextEndsInBeforeExec: the program was told to stop.
func TestContextEndsInBeforeExec(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	r := restarterCalledOff(t, nil)
	r.BeforeExec = func(context.Context) error {
		cancel(errCalledOff)
		return os.Remove(r.Path) // lest this process is replaced
	}
	if err := r.Restart(ctx); !errors.Is(err, errCalledOff) || errors.Is(err, os.ErrNotExist) {
		t.Fatalf("%v, expected only %v", err, errCalledOff)
	}
}

// TestRestartsWhileDraining: they take turns, each with a drain of its own.
func TestRestartsWhileDraining(t *testing.T) {
	a := registerRecorder(t)
	var mu sync.Mutex
	inside := 0
	r := restarterCalledOff(t, func() {
		mu.Lock()
		defer mu.Unlock()
		inside++
	})
	draining := Draining()
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
		t.Errorf("asked for %q, BeforeExec %d times", a.asked, inside)
	}
}

func TestUnregisteredIsNotDrained(t *testing.T) {
	r := &recorder{done: make(chan struct{})}
	RegisterDrainer(r)()
	if err := restarterCalledOff(t, func() {}).Restart(t.Context()); !errors.Is(err, errCalledOff) {
		t.Fatal(err)
	}
	if !r.was() {
		t.Errorf("asked for %q", r.asked)
	}
}
