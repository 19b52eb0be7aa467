//go:build linux

package integrationtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/autorestarttest"
)

// calls are those that a Gate has got, each at its beginning and at its end.
type calls struct {
	mu   sync.Mutex
	list []string
}

func (c *calls) add(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.list = append(c.list, fmt.Sprintf(format, args...))
}

func (c *calls) want(t *testing.T, want ...string) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !slices.Equal(c.list, want) {
		t.Errorf("the calls are\n%q, want\n%q", c.list, want)
	}
}

// A second restart does not ask before the Gate knows how this version was started.
func TestSecondRestartWaitsUntilGateIsTold(t *testing.T) {
	var got calls
	g := newGate(func(context.Context, autorestart.Change) ([]byte, error) {
		got.add("acquire")
		return nil, nil
	})
	g.release = func(r autorestart.GateResult) error { got.add("release %v", r.Outcome); return nil }
	r := deployed(t, g)
	synctest.Test(t, func(t *testing.T) {
		autorestarttest.NewProcess(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := r.Restart(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Restart has returned %v", err)
		}
		if err := r.Restart(t.Context()); err != errCalledOff {
			t.Errorf("the second Restart has returned %v", err)
		}
		time.Sleep(time.Hour)
	})
	got.want(t, "release ready", "acquire", "release called off")
}

// Two Restarters have one Gate. One call is under way at a time.
func TestRestartersWithOneGate(t *testing.T) {
	var got calls
	g := newGate(func(context.Context, autorestart.Change) ([]byte, error) {
		got.add("acquire")
		return nil, nil
	})
	g.release = func(r autorestart.GateResult) error {
		got.add("release %v", r.Outcome)
		time.Sleep(time.Hour)
		got.add("released")
		return nil
	}
	first, second := deployed(t, g), deployed(t, g)
	synctest.Test(t, func(t *testing.T) {
		autorestarttest.NewProcess(t)
		autorestart.Ready()
		for _, r := range []*autorestart.Restarter{first, second} {
			if err := r.Restart(t.Context()); err != errCalledOff {
				t.Errorf("Restart has returned %v", err)
			}
		}
		time.Sleep(2 * time.Hour)
	})
	got.want(t, "release ready", "released",
		"acquire", "release called off", "released",
		"acquire", "release called off", "released")
}

// Acquire returns leave long after the end of its context. The leave is given back before the next Acquire.
func TestLateLeaveIsGivenBackBeforeNextAcquire(t *testing.T) {
	var got calls
	first := true
	g := newGate(func(context.Context, autorestart.Change) ([]byte, error) {
		got.add("acquire")
		if first {
			first = false
			time.Sleep(time.Minute)
			return []byte("late"), nil
		}
		return []byte("next"), nil
	})
	g.release = func(r autorestart.GateResult) error { got.add("release %v %s", r.Outcome, r.State); return nil }
	r := deployed(t, g)
	synctest.Test(t, func(t *testing.T) {
		autorestarttest.NewProcess(t)
		autorestart.Ready()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := r.Restart(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Restart has returned %v", err)
		}
		if err := r.Restart(t.Context()); err != errCalledOff {
			t.Errorf("the second Restart has returned %v", err)
		}
		time.Sleep(time.Hour)
	})
	got.want(t, "release ready ", "acquire", "release called off late", "acquire", "release called off next")
}
