//go:build linux && !autorestart_portable

package image_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

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
	channel, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(channel[0]) })
	h.Set(handover.Channel, channel[1])
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
	r := &autorestart.Restarter{Path: path, TrustAnyOwner: true}
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

// A version that never calls Ready accepts after the time that it has for that, and serves in place
// of the process beside it.
func TestAcceptsWithoutReady(t *testing.T) {
	h := new(handover.State)
	for kind, n := range map[handover.NumberKind]int{handover.PID: os.Getpid(), handover.Generation: 2, handover.Beside: 1} {
		h.Set(kind, n)
	}
	t.Cleanup(image.Current().Use)
	i := image.Start(h, nil)
	i.Use()
	resumed := make(resuming, 1)
	defer autorestart.RegisterDrainer(resumed)()
	if !i.Beside.Serves() || len(resumed) > 0 {
		t.Error("it accepts at once")
	}
	i.Store.ShortenTimer(time.Millisecond)
	testprocess.Receive(t, "end of the time for Ready", resumed)
}

// resuming is a Drainer that tells when it resumes.
type resuming chan bool

func (resuming) Quiesce()                    {}
func (resuming) Drain(context.Context) error { return nil }
func (r resuming) Resume()                   { r <- true }
