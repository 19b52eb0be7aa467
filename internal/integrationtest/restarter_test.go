//go:build linux

package integrationtest

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/daemontest/program"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// A restart that is called off, or that fails, leaves no descriptor behind.
func TestFailedRestartLeavesNothing(t *testing.T) {
	dir := testprocess.MemoryDir(t)
	path := filepath.Join(dir, "app")
	testprocess.WriteExecutable(t, path, daemontest.Image(t, 2))
	calledOff := errors.New("not now")
	before := descriptors(t)

	r := autorestart.Restarter{Path: path, BeforeExec: func(context.Context, *autorestart.ExecPlan) error { return calledOff }}
	if err := r.Restart(context.Background()); err != calledOff {
		t.Errorf("%v, expected %v", err, calledOff)
	}

	ctx, cancel := context.WithCancelCause(context.Background())
	called := make(chan bool, 1)
	r = autorestart.Restarter{Path: path, PollInterval: 10 * time.Millisecond, BeforeExec: func(context.Context, *autorestart.ExecPlan) error {
		called <- true
		return calledOff
	}}
	ended := make(chan error)
	go func() { ended <- r.Run(ctx) }()
	<-called
	testprocess.WaitFor(t, "mode", func() bool { return r.Mode() != autorestart.WatchMode{} })
	cancel(calledOff)
	if err := <-ended; err != calledOff {
		t.Errorf("Run ended with %v, expected %v", err, calledOff)
	}

	r = autorestart.Restarter{Path: filepath.Join(dir, "missing")}
	ctx, stop := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer stop()
	err := r.Restart(ctx)
	if rejected, ok := errors.AsType[*autorestart.RejectedError](err); !ok || !rejected.Retryable || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Restart without a file ended with %v", err)
	}
	if after := descriptors(t); !slices.Equal(before, after) {
		t.Errorf("descriptors %q, %q before", after, before)
	}
}

// A restart that is called off in a later attempt says why the attempt before failed.
func TestRestartEndedLater(t *testing.T) {
	path := filepath.Join(testprocess.MemoryDir(t), "app")
	ctx, cancel := context.WithCancel(t.Context())
	r := autorestart.Restarter{
		Path: path,
		Logger: testprocess.OnWarning(func() {
			testprocess.WriteExecutable(t, path+".new", daemontest.Image(t, 2))
			os.Rename(path+".new", path)
		}),
		Verify: func(context.Context, *os.File) error {
			cancel()
			return nil
		},
	}
	err := r.Restart(ctx)
	if !errors.Is(err, context.Canceled) || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Restart ended with %v, expected also why it had failed", err)
	}
}

// An error of BeforeExec that may pass is not tried again at once: clients have waited for each call.
func TestRetryableErrorOfBeforeExec(t *testing.T) {
	path := filepath.Join(testprocess.MemoryDir(t), "app")
	testprocess.WriteExecutable(t, path, daemontest.Image(t, 2))
	ctx, cancel := context.WithCancel(t.Context())
	var calls []time.Time
	r := autorestart.Restarter{Path: path, BeforeExec: func(context.Context, *autorestart.ExecPlan) error {
		if calls = append(calls, time.Now()); len(calls) == 2 {
			cancel()
		}
		return &autorestart.RejectedError{Path: path, Found: "no licence", Expected: "one", Retryable: true}
	}}
	err := r.Restart(ctx)
	if rejected, ok := errors.AsType[*autorestart.RejectedError](err); !ok || !rejected.Retryable || !errors.Is(err, context.Canceled) {
		t.Errorf("Restart ended with %v", err)
	}
	if between := calls[1].Sub(calls[0]); between < time.Second {
		t.Errorf("called again after %v, want one second at least", between)
	}
}

// Of two restarts at once, the second waits until the first has failed.
func TestRestartsTakeTurns(t *testing.T) {
	path := filepath.Join(testprocess.MemoryDir(t), "app")
	testprocess.WriteExecutable(t, path, daemontest.Image(t, 2))
	var inside, most atomic.Int32
	r := autorestart.Restarter{Path: path, BeforeExec: func(context.Context, *autorestart.ExecPlan) error {
		most.Store(max(most.Load(), inside.Add(1)))
		defer inside.Add(-1)
		time.Sleep(time.Millisecond) // to be found inside
		return errors.New("called off")
	}}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() { r.Restart(context.Background()) })
	}
	all.Wait()
	if most.Load() != 1 {
		t.Errorf("%d restarts at once", most.Load())
	}
}

// descriptors lists the open files of this process, without those that the runtime
// and os.ReadDir open themselves.
func descriptors(t *testing.T) []string {
	t.Helper()
	var list []string
	for _, target := range daemontest.Self().Files {
		if !strings.HasPrefix(target, "anon_inode:[event") && !strings.Contains(target, "/proc/") {
			list = append(list, target)
		}
	}
	slices.Sort(list)
	return list
}

// LastRestart returns the times of the steps of a restart, in their order.
func TestTimesOfRestart(t *testing.T) {
	d := program.New(t)
	start := time.Now()
	d.Start()
	d.DeployVersion(2)
	d.WantRestart(2)
	d.WantAnswer("ready", "")
	wantTimesSince(d, start)
}

// LastRestart returns those of a rollback, too, and in the version after it those of the
// restart that came next.
func TestTimesOfRollback(t *testing.T) {
	d := program.OnTrial(t, time.Minute)
	asked := time.Now()
	d.Tell("fail it is no good")
	program.WantRollback(d, "it is no good")
	d.WantAnswer("ready", "")
	wantTimesSince(d, asked)
	deployed := time.Now()
	d.DeployVersion(3)
	d.WantRestart(3)
	d.WantAnswer("ready", "")
	wantTimesSince(d, deployed)
}

// The same of a version that hangs before its main: no package but the first ones is
// initialised.
func TestTimesOfRollbackBeforeMain(t *testing.T) {
	d := program.StartWithTrial(t, 200*time.Millisecond)
	d.WantAnswer("fill-env "+program.HangEnv+" 1", "<nil>")
	deployed := time.Now()
	d.DeployVersion(2)
	if s := d.NextStart(); s.Version != 1 {
		t.Fatalf("version %d runs", s.Version)
	}
	d.WantAnswer("ready", "")
	wantTimesSince(d, deployed.Add(200*time.Millisecond))
}

// wantTimesSince compares the times of the last restart of the daemon, which is ready, with each
// other, with now, and with the given time.
func wantTimesSince(d *daemontest.Daemon, previous time.Time) {
	d.T.Helper()
	for i, field := range strings.Fields(d.Ask("times", "done")) {
		ns, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			d.T.Fatal(err)
		}
		at := time.Unix(0, ns)
		if at.Before(previous) || at.After(time.Now()) {
			d.T.Errorf("step %d at %v, after one at %v", i, at, previous)
		}
		previous = at
	}
}

// The generation is another one for each image, also for one that runs again.
func TestGenerationIdentifiesImage(t *testing.T) {
	d := onTrialWithNothing(t)
	d.WantAnswer("generation", "1")
	d.WantAnswer("failed-generation", "none")
	d.Tell("fail it is no good")
	d.NextStart()
	d.WantAnswer("generation", "2")
	d.WantAnswer("failed-generation", "1")
	d.DeployVersion(3)
	d.WantRestart(3)
	d.WantAnswer("generation", "3")
	d.DeployVersion(4) // on trial, as 3 is
	d.WantRestart(4)
	d.Tell("fail it is no better")
	d.NextStart()
	d.WantAnswer("generation", "5")
	d.WantAnswer("failed-generation", "4")
}
