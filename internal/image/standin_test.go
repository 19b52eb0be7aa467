//go:build unix

package image_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/image"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// standIn makes the current image that of a stand-in whose main process says nothing.
func standIn(t *testing.T) *image.Image {
	t.Helper()
	h := &handover.State{IsStandIn: true}
	h.Set(handover.PID, os.Getppid())
	h.Set(handover.Channel, 1<<20) // it is not open
	t.Cleanup(image.Current().Use)
	i := image.Start(h, func(handover.Target, []string, []string, *handover.State) error {
		t.Error("a stand-in has executed something")
		return os.ErrInvalid
	})
	i.Use()
	return i
}

// A stand-in watches nothing: its main process does.
func TestStandInWatchesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app")
	testprocess.WriteExecutable(t, path, testprocess.ReadFile(t, "/bin/sh"))
	standIn(t)
	if !autorestart.StandIn() {
		t.Fatal("it is no stand-in")
	}
	w := &autorestart.Watcher{Path: path, TrustAnyOwner: true}
	defer w.Close()
	r := &autorestart.Restarter{Path: path, TrustAnyOwner: true, Overlap: true}
	for name, f := range map[string]func(context.Context) error{
		"Watcher.Next": func(ctx context.Context) error {
			c, err := w.Next(ctx)
			if err == nil {
				t.Errorf("it has noticed %+v", c)
			}
			return err
		},
		"Restarter.Run": r.Run,
	} {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- f(ctx) }()
		testprocess.Within(shortWhile, func() bool { return len(ended) > 0 })
		cancel()
		if err, _ := testprocess.Receive(t, "end of "+name, ended); err != context.Canceled {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := r.Restart(t.Context()); err == nil {
		t.Error("Restart has succeeded")
	}
}

// shortWhile is how long something must not happen that would take milliseconds.
const shortWhile = 100 * time.Millisecond
