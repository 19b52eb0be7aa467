//go:build linux

package integrationtest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/daemontest/program"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// observed has the events of a Restarter, but for those about the start of this process, which
// the first Restarter of all gets.
type observed chan autorestart.Event

func observe(r *autorestart.Restarter) observed {
	events := make(observed, 100)
	r.Observe = func(e autorestart.Event) {
		if e.Kind != autorestart.EventStarted && e.Kind != autorestart.EventReady {
			events <- e
		}
	}
	return events
}

// want waits for the next event, which must be of the kind.
func (events observed) want(t *testing.T, kind autorestart.EventKind) autorestart.Event {
	t.Helper()
	e, _ := testprocess.Receive(t, "event "+kind.String(), events)
	if e.Kind != kind {
		t.Fatalf("event %q (%v), want %q", e.Kind, e.Err, kind)
	}
	if e.At.IsZero() || e.Path == "" || e.Lost != 0 || e.Generation != autorestart.Generation() {
		t.Errorf("event %+v", e)
	}
	return e
}

// wantNoMore checks that there is no other event. Restart and Run return when Observe has.
func (events observed) wantNoMore(t *testing.T) {
	t.Helper()
	select {
	case e := <-events:
		t.Errorf("event %q (%v)", e.Kind, e.Err)
	default:
	}
}

// A restart that is called off is reported up to the error that calls it off.
func TestObserveRestartCalledOff(t *testing.T) {
	a := registerRecorder(t)
	close(a.done)
	r := restarterCalledOff(t, func() {})
	events := observe(r)
	for range 2 {
		if err := r.Restart(t.Context()); !errors.Is(err, errCalledOff) {
			t.Fatal(err)
		}
		seen := events.want(t, autorestart.EventSeen)
		if seen.Path != r.Path || seen.New.ID == "" || seen.New != seen.Old {
			t.Errorf("%+v", seen)
		}
		draining := events.want(t, autorestart.EventDraining)
		if draining.Times.Judged.IsZero() || !draining.Times.Quiesced.IsZero() || draining.Unfinished != nil {
			t.Errorf("%+v", draining)
		}
		if rejected := events.want(t, autorestart.EventRejected); rejected.Err != errCalledOff || rejected.New != seen.New {
			t.Errorf("%+v", rejected)
		}
		events.wantNoMore(t)
	}
}

// A drain that runs out says what it waits for, and then what is cut off. An exec that fails is
// reported, too.
func TestObserveDrainTimeout(t *testing.T) {
	if testing.Short() {
		t.Skip("takes the time of a drain")
	}
	registerRecorder(t)
	var logged testprocess.Log
	r := restarterCalledOff(t, nil)
	r.BeforeExec, r.DrainTimeout, r.Logger = nil, 3*time.Second, slog.New(slog.NewTextHandler(&logged, nil))
	// The path leads to nothing when the drain is over, so that no exec can replace this process.
	r.BeforeExec = func(context.Context, *autorestart.ExecPlan) error { return os.Remove(r.Path) }
	events := observe(r)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	returned := make(chan error, 1)
	go func() { returned <- r.Restart(ctx) }()
	events.want(t, autorestart.EventSeen)
	draining := events.want(t, autorestart.EventDraining)
	const drainer = "*integrationtest.recorder"
	progress := events.want(t, autorestart.EventDraining)
	restarting := <-events
	for restarting.Kind == autorestart.EventDraining { // each second
		progress, restarting = restarting, <-events
	}
	if !slices.Equal(progress.Unfinished, []string{drainer}) {
		t.Errorf("draining: %q", progress.Unfinished)
	}
	if restarting.Kind != autorestart.EventRestarting {
		t.Fatalf("event %+v", restarting)
	}
	if want := []string{drainer + ": one is left"}; !slices.Equal(restarting.Unfinished, want) {
		t.Errorf("restarting: %q, want %q", restarting.Unfinished, want)
	}
	if times := restarting.Times; times.Drained.Sub(draining.At) < r.DrainTimeout || !times.Executed.IsZero() {
		t.Errorf("restarting: %+v", times)
	}
	rejected := events.want(t, autorestart.EventRejected)
	if e, ok := errors.AsType[*autorestart.RejectedError](rejected.Err); !ok || !e.Retryable || !errors.Is(e, fs.ErrNotExist) {
		t.Errorf("rejected: %v", rejected.Err)
	}
	cancel()
	<-returned
	for _, line := range []string{
		`msg="draining: the restart waits for what is not done" unfinished=\` + drainer + ` after=[12]s timeout=3s`,
		`msg="drain timeout: closing what is not done; raise DrainTimeout to wait longer" timeout=3s closing="\` + drainer + `: one is left"`,
	} {
		if !regexp.MustCompile(line).MatchString(logged.String()) {
			t.Errorf("logged %s\nwant %s", logged.String(), line)
		}
	}
}

// A file that is no version is reported once, also if it is looked at again.
func TestObserveRejectedFile(t *testing.T) {
	r := restarterCalledOff(t, func() {})
	r.PollInterval = time.Millisecond
	testprocess.WriteExecutable(t, r.Path, []byte("#!/bin/true\n"))
	events := observe(r)
	run := func() (stop func() error) {
		ctx, cancel := context.WithCancel(t.Context())
		returned := make(chan error, 1)
		go func() { returned <- r.Run(ctx) }()
		return func() error { cancel(); return <-returned }
	}
	stop := run()
	e := events.want(t, autorestart.EventRejected)
	rejected, ok := errors.AsType[*autorestart.RejectedError](e.Err)
	if !ok || rejected.Retryable || rejected.Path != r.Path || !strings.Contains(rejected.Found, "wrappers are not supported") || e.New.ID != "" {
		t.Errorf("%+v", e)
	}
	mode := events.want(t, autorestart.EventModeChanged)
	if mode.Mode.Events != daemontest.HaveEvents || mode.Mode.Poll != r.PollInterval {
		t.Errorf("mode %v", mode.Mode)
	}
	testprocess.WriteExecutable(t, r.Path+".new", daemontest.Image(t, 2))
	if err := os.Rename(r.Path+".new", r.Path); err != nil {
		t.Fatal(err)
	}
	events.want(t, autorestart.EventSeen)
	for e := range events { // other tests may have had something to drain
		if e.Kind == autorestart.EventDraining {
			continue
		}
		if e.Kind != autorestart.EventRejected || e.Err != errCalledOff || e.New.ID == "" {
			t.Errorf("event %+v", e)
		}
		break
	}
	if err := stop(); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	events.wantNoMore(t)
}

// A version that Verify rejects was seen and verified, once for each file.
func TestObserveVerify(t *testing.T) {
	r := restarterCalledOff(t, func() {})
	errYoung := errors.New("too young")
	attempts := 0
	r.Verify = func(context.Context, *os.File) error {
		if attempts++; attempts < 3 {
			return &autorestart.RejectedError{Found: "a young version", Expected: "an old one", Retryable: true}
		}
		return errYoung
	}
	events := observe(r)
	if err := r.Restart(t.Context()); !errors.Is(err, errYoung) {
		t.Fatal(err)
	}
	events.want(t, autorestart.EventSeen)
	events.want(t, autorestart.EventVerifying)
	rejected := events.want(t, autorestart.EventRejected)
	if e, ok := errors.AsType[*autorestart.RejectedError](rejected.Err); ok && e.Retryable { // once that has lasted
		rejected = events.want(t, autorestart.EventRejected)
	}
	if !errors.Is(rejected.Err, errYoung) {
		t.Errorf("%v", rejected.Err)
	}
	events.wantNoMore(t)
}

// An observer that blocks, panics or calls the library holds nothing up.
func TestObserverHoldsNothingUp(t *testing.T) {
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	for name, f := range map[string]func(r *autorestart.Restarter){
		"blocks": func(*autorestart.Restarter) { <-release },
		"panics": func(*autorestart.Restarter) { panic("an observer") },
		"calls": func(r *autorestart.Restarter) {
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			r.Restart(ctx)
			autorestart.Ready()
			autorestart.Rollback(nil)
			r.Mode()
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := restarterCalledOff(t, func() {})
			r.Observe = func(autorestart.Event) { f(r) }
			returned := make(chan error, 1)
			go func() { returned <- r.Restart(t.Context()) }()
			if err, _ := testprocess.Receive(t, "return of Restart", returned); !errors.Is(err, errCalledOff) {
				t.Error(err)
			}
		})
	}
}

// wantEvents waits for events of a daemon, in the words of the daemon.
func wantEvents(d *daemontest.Daemon, texts ...string) {
	d.T.Helper()
	for _, text := range texts {
		if got := d.Want("event"); got != text {
			d.T.Fatalf("event %q, want %q", got, text)
		}
	}
}

// wantLastEvents waits for the last events of an image, and for the first one of the next. The
// exec may cut some of them off, which the first one counts, beside those that were late.
func wantLastEvents(d *daemontest.Daemon, before []string, first string) {
	d.T.Helper()
	most := len(before) + 1 // that of an image before is not observed to its end
	for {
		event, text := d.Next()
		if event == "start" {
			break
		}
		if event != "event" || len(before) == 0 || text != before[0] {
			d.T.Fatalf("%s %q, want %q", event, text, before)
		}
		before = before[1:]
	}
	got := d.Want("event")
	for lost := len(before); lost <= most; lost++ {
		if got == fmt.Sprint(first, " lost=", lost) {
			return
		}
	}
	d.T.Fatalf("event %q after %d lost ones, want %q", got, len(before), first)
}

func startObserving(t *testing.T, observer string, env ...string) *daemontest.Daemon {
	t.Helper()
	d := program.New(t)
	for _, kv := range append(env, program.ObserveEnv+"="+observer) {
		d.Setenv(kv)
	}
	d.Start()
	return d
}

// untilExec are the events of the first image for a deploy.
var untilExec = []string{
	"seen generation=0 old new lost=0", "draining generation=0 old new times=2 lost=0", "restarting generation=0 old new times=4 lost=0",
}

// A version reports the steps up to the exec, and the next one reports the outcome.
func TestObserveDeploy(t *testing.T) {
	d := startObserving(t, "say")
	wantEvents(d, "started generation=0 new times=1 lost=0", "mode changed generation=0 old lost=0")
	d.Tell("become-ready")
	wantEvents(d, "ready generation=0 new times=2 lost=0")
	d.DeployVersion(2)
	wantLastEvents(d, untilExec, "started generation=1 old new times=6")
	wantEvents(d, "mode changed generation=1 old lost=0")
	d.Tell("become-ready")
	wantEvents(d, "ready generation=1 old new times=7 lost=0")
}

// What happens before Run is reported then, in its order.
func TestObserveReadyBeforeRun(t *testing.T) {
	d := startObserving(t, "say", program.ManualEnv+"=yes")
	d.WantAnswer("ready", "")
	d.Tell("watch")
	wantEvents(d, "started generation=0 new times=1 lost=0", "ready generation=0 new times=2 lost=0",
		"mode changed generation=0 old lost=0")
}

// The version that runs again reports a rollback.
func TestObserveRollback(t *testing.T) {
	program.NeedRollback(t)
	d := startObserving(t, "say", program.ReadyEnv+"=1m")
	wantEvents(d, "started generation=0 new times=1 lost=0", "mode changed generation=0 old lost=0")
	d.DeployVersion(2)
	wantLastEvents(d, untilExec, "started generation=1 old new times=6")
	wantEvents(d, "mode changed generation=1 old lost=0")
	d.Tell("fail it is no good")
	wantLastEvents(d, nil, `rolled back generation=2 old new times=6 err="`+program.RolledBackPrefix+`it is no good"`)
	d.WantLogged("the new version was executed and rolled back: this one runs again")
}

// A version that is ready and can still be rolled back says so, and when that time is over.
func TestObserveHealthTimeout(t *testing.T) {
	program.NeedRollback(t)
	d := startObserving(t, "say", program.HealthEnv+"=50ms")
	wantEvents(d, "started generation=0 new times=1 lost=0", "mode changed generation=0 old lost=0")
	d.DeployVersion(2)
	wantLastEvents(d, untilExec, "started generation=1 old new times=6")
	wantEvents(d, "mode changed generation=1 old lost=0")
	d.Tell("become-ready")
	wantEvents(d, "ready generation=1 old new times=7 on-trial lost=0", "healthy generation=1 old new times=7 lost=0")
}

// An observer that blocks or panics holds up no restart and no rollback.
func TestObserverHoldsNoRestartUp(t *testing.T) {
	for _, observer := range []string{"block", "panic"} {
		t.Run(observer, func(t *testing.T) {
			program.NeedRollback(t)
			d := startObserving(t, observer, program.ReadyEnv+"=1m")
			d.WaitForWatch()
			d.DeployVersion(2)
			d.WantRestart(2)
			d.WantAnswer("ready", "")
			d.WaitForWatch()
			d.DeployVersion(3)
			d.WantRestart(3)
			d.Tell("fail it is no good")
			if s := d.NextStart(); s.Version != 2 {
				t.Errorf("version %d runs", s.Version)
			}
		})
	}
}

// One line tells that a restart has succeeded, how long its steps took, and how the version watches.
func TestTakeoverIsLogged(t *testing.T) {
	d := program.New(t)
	d.Start()
	d.WaitForWatch()
	if strings.Contains(d.Log(), "took over") {
		t.Errorf("a program that was started afresh has logged %s", d.Log())
	}
	d.DeployVersion(2)
	d.WantRestart(2)
	d.WantLogged("took over from the previous version")
	d.WantLogged("path=" + d.Path + ` generation=1 times="judged `)
	d.WantLogged(`s" mode=`)
}
