//go:build linux

package integrationtest

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// restartWithin returns the error of a restart that is to fail within the given time, by
// the clock of a synctest bubble.
func restartWithin(t *testing.T, r *autorestart.Restarter, limit time.Duration) error {
	t.Helper()
	failed := make(chan error, 1)
	go func() { failed <- r.Restart(t.Context()) }()
	select {
	case err := <-failed:
		return err
	case <-time.After(limit):
		t.Fatalf("Restart has not returned after %v", limit)
		return nil
	}
}

// TestBlockingHooks: BeforeExec and Verify have a limited time. After that the restart is
// called off, everything resumes, and the error names the hook.
func TestBlockingHooks(t *testing.T) {
	for name, set := range map[string]func(r *autorestart.Restarter, block func()){
		"BeforeExec": func(r *autorestart.Restarter, block func()) {
			r.BeforeExec = func(context.Context, *autorestart.ExecPlan) error { block(); return nil }
		},
		"Verify": func(r *autorestart.Restarter, block func()) {
			r.Verify = func(context.Context, *os.File) error { block(); return nil }
			r.BeforeExec = func(context.Context, *autorestart.ExecPlan) error { return errCalledOff }
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := restarterCalledOff(t, func() {})
			synctest.Test(t, func(t *testing.T) {
				a := &recorder{done: make(chan struct{})}
				close(a.done)
				defer autorestart.RegisterDrainer(a)()
				release := make(chan struct{})
				set(r, func() { <-release })
				for range 2 { // the second call while the first one blocks
					err := restartWithin(t, r, time.Hour)
					rejected, ok := errors.AsType[*autorestart.RejectedError](err)
					if !strings.Contains(err.Error(), name) || ok && rejected.Retryable {
						t.Errorf("got %v, want an error that names %s", err, name)
					}
				}
				if n := len(a.calls); n > 0 && a.calls[n-1] != "resume" {
					t.Errorf("called %q", a.calls)
				}
				close(release)
			})
		})
	}
}

// TestPanickingHooks: a panic in BeforeExec or Verify counts as its error.
func TestPanickingHooks(t *testing.T) {
	a := registerRecorder(t)
	close(a.done)
	var logged testprocess.Log
	r := restarterCalledOff(t, func() { panic("in BeforeExec") })
	r.Logger = slog.New(slog.NewTextHandler(&logged, nil))
	if err := r.Restart(t.Context()); err == nil || !strings.Contains(err.Error(), "in BeforeExec") {
		t.Errorf("got %v", err)
	}
	if !a.was("quiesce", "drain", "resume") {
		t.Errorf("called %q", a.calls)
	}
	r.Verify = func(context.Context, *os.File) error { panic("in Verify") }
	if err := r.Restart(t.Context()); err == nil || !strings.Contains(err.Error(), "in Verify") {
		t.Errorf("got %v", err)
	}
}
