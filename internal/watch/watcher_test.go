package watch

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/autorestart-go/autorestart/internal/candidate"
	"github.com/autorestart-go/autorestart/internal/elfimage/elftest"
)

func TestWatcherVersions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTestWatcher(t)
		next := w.startNext(t.Context())
		wantNone(t, "at the start", next)

		w.happen()
		wantNone(t, "an event and no change", next)
		w.deploy(1)
		w.happen()
		wantNone(t, "the same content", next)
		w.sys.Touch(app)
		w.happen()
		wantNone(t, "touched", next)
		wantNoTimeout := func() {
			t.Helper()
			if d := w.events.lastWait(); d != 0 {
				t.Errorf("waited for %v, where events tell", d)
			}
		}
		wantNoTimeout()
		w.sys.Remove(app)
		w.happen()
		wantNone(t, "gone", next)
		if w.events.lastWait() == 0 {
			t.Error("waits for events alone, where a mount may come")
		}

		w.deploy(2)
		w.happen()
		if c := wantVersion(t, 2, next); c.Path != app || !c.Seen.Equal(time.Now()) {
			t.Errorf("got %+v", c)
		}
		w.Accepted()

		next = w.startNext(t.Context())
		wantNone(t, "after version 2 was accepted", next)
		wantNoTimeout()
		w.deploy(2)
		w.happen()
		wantNone(t, "version 2 again", next)
		w.deploy(1)
		w.happen()
		wantVersion(t, 1, next)
		w.Accepted()

		// The second of two calls finds what happens between them.
		w.deploy(3)
		wantVersion(t, 3, w.startNext(t.Context()))
		w.Accepted()
		if lines := w.logged.take(); len(lines) > 0 {
			t.Errorf("logged %q", lines)
		}
		if err := w.Close(); err != nil || !w.events.closed {
			t.Errorf("Close: %v, events closed: %t", err, w.events.closed)
		}
	})
}

// TestWatcherBase: the version before is the running image, and then the candidate that
// was accepted last.
func TestWatcherBase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTestWatcher(t)
		if w.Base() != &w.Rules.Running {
			t.Error("the base is not the running image at the start")
		}
		w.deploy(2)
		c := wantVersion(t, 2, w.startNext(t.Context()))
		id := c.ID
		if w.Base() != &w.Rules.Running {
			t.Error("a candidate is the base before it was accepted")
		}
		w.Accepted()
		w.startNext(t.Context())
		if w.Base().ID != id {
			t.Errorf("the base is %+v, want %+v", w.Base().ID, id)
		}
	})
}

// A candidate that is not ready is looked at again at a growing delay, and after an
// event soon: the event of a close may come a moment before the writer has gone.
func TestWatcherLooksSoonAfterEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTestWatcher(t)
		next := w.startNext(t.Context())
		w.sys.Deploy(app, elftest.Program(2), 0o644)
		w.happen()
		time.Sleep(time.Minute)
		wantNone(t, "not executable", next)
		if d := w.events.lastWait(); d != time.Second {
			t.Errorf("waits for %v after a minute", d)
		}
		w.happen()
		wantNone(t, "not executable yet", next)
		if d := w.events.lastWait(); d != 2*time.Millisecond {
			t.Errorf("waits for %v after an event", d)
		}
		w.sys.Chmod(app, 0o755)
		time.Sleep(2 * time.Millisecond)
		wantVersion(t, 2, next)
	})
}

func TestWatcherContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTestWatcher(t)
		cause := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		next := w.startNext(ctx)
		time.Sleep(time.Hour)
		cancel(cause)
		synctest.Wait()
		if r := <-next; r.err != cause || r.took != time.Hour {
			t.Errorf("got %+v, want %v", r, cause)
		}
		// The watcher is as good as before.
		w.deploy(2)
		wantVersion(t, 2, w.startNext(t.Context()))
	})
}

// TestWatcherMissed: the watcher looks for what came while the watches were made, though
// no event tells of it.
func TestWatcherMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTestWatcher(t)
		w.source = &deployOnArm{scriptedEvents: w.events, deploy: func() { w.deploy(2) }}
		wantVersion(t, 2, w.startNext(t.Context()))
		if armed, waits := w.events.seen(); armed != 1 || len(waits) != 0 {
			t.Errorf("armed %d times, waited %v", armed, waits)
		}
	})
}

type deployOnArm struct {
	*scriptedEvents
	deploy func()
}

func (e *deployOnArm) Arm(path string) (bool, error) {
	e.deploy()
	e.mu.Lock()
	e.missed = true
	e.mu.Unlock()
	return e.scriptedEvents.Arm(path)
}

// TestWatcherNotReady: a candidate that is not ready yet is looked at again, without an
// event, at a pace that slows down.
func TestWatcherNotReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTestWatcher(t)
		next := w.startNext(t.Context())
		w.sys.Deploy(app, elftest.Program(2), 0o644)
		w.happen()
		wantNone(t, "not executable", next)
		time.Sleep(notReadyDelay / 2)
		if lines := w.logged.take(); len(lines) > 0 {
			t.Errorf("logged %q so soon", lines)
		}
		time.Sleep(time.Minute)
		wantNone(t, "still not executable", next)
		if lines := w.logged.take(); len(lines) != 1 || !strings.HasPrefix(lines[0], "WARN new version not ready yet reason=") {
			t.Errorf("logged %q", lines)
		}
		_, waits := w.events.seen()
		waits = waits[1:]
		if waits[0] > 10*time.Millisecond || slices.Max(waits) != time.Second || !slices.IsSorted(waits) {
			t.Errorf("looked again after %v", waits)
		}
		// The pace starts anew with the next candidate.
		w.deploy(1)
		w.happen()
		synctest.Wait()
		_, before := w.events.seen()
		w.sys.Deploy(app, elftest.Program(3), 0o644)
		w.happen()
		synctest.Wait()
		if _, after := w.events.seen(); len(after) != len(before)+1 || after[len(before)] != waits[0] {
			t.Errorf("another candidate: looks again after %v, want %v", after[len(before):], waits[0])
		}
		w.sys.Chmod(app, 0o755)
		time.Sleep(time.Second)
		wantVersion(t, 3, next)
	})
}

// TestWatcherRejected: a file that won't do as it is, is left alone until it changes.
func TestWatcherRejected(t *testing.T) {
	other := elftest.New(elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_AARCH64).Build(nil)
	object := elftest.New(elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_X86_64).Build(func(p *elftest.Parts) { p.Type = elf.ET_REL })
	for name, content := range map[string][]byte{
		"another machine": other,
		"object file":     object,
		"script":          []byte("#!/bin/sh\n"),
		"garbage":         []byte("garbage"),
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newTestWatcher(t)
			next := w.startNext(t.Context())
			w.sys.Deploy(app, content, 0o755)
			for range 3 {
				w.happen()
				wantNone(t, name, next)
			}
			if lines := w.logged.take(); len(lines) != 1 || !strings.HasPrefix(lines[0], "WARN new version rejected reason=") {
				t.Errorf("%s: logged %q", name, lines)
			}
			if d := w.events.lastWait(); d != 0 {
				t.Errorf("%s: waits for %v", name, d)
			}
			// It is worth another line when there was something good in between.
			w.deploy(1)
			w.happen()
			synctest.Wait()
			w.sys.Deploy(app, content, 0o755)
			w.happen()
			wantNone(t, name+" again", next)
			if lines := w.logged.take(); len(lines) != 1 {
				t.Errorf("%s again: logged %q", name, lines)
			}
			w.deploy(2)
			w.happen()
			wantVersion(t, 2, next)
		})
	}
}

// TestWatcherUnsteady: where the format does not tell when a file is complete, the file
// has to stay as it is from one look to the next.
func TestWatcherUnsteady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTestWatcher(t)
		w.sys.Deploy("/script", []byte("#!/bin/sh\n"), 0o755)
		w.sys.Run("/script")
		w.Rules.Close()
		w.Rules = candidate.NewRules(w.sys, app)
		w.sys.Deploy(app, []byte("#!/bin/sh\n"), 0o755)
		next := w.startNext(t.Context())
		for i := range 5 {
			w.sys.Deploy(app, fmt.Append(nil, "#!/bin/sh\n# ", i, "\n"), 0o755)
			w.happen()
			wantNone(t, "growing", next)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		select {
		case r := <-next:
			if r.err != nil {
				t.Error(r.err)
			}
		default:
			t.Error("steady: Next did not return")
		}
	})
}

// TestWatcherAnswers: Next returns a candidate again only if it may be accepted as it
// is, and then at the pace of retries.
func TestWatcherAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTestWatcher(t)
		next := w.startNext(t.Context())
		wantNone(t, "the version that runs", next)
		w.deploy(2)
		w.happen()
		for i, reason := range []error{errors.New("not yet"), errors.New("still not")} {
			wantVersion(t, 2, next)
			w.LookAgain(reason)
			next = w.startNext(t.Context())
			wantNone(t, "at once", next)
			if d := w.events.lastWait(); d != 2*time.Millisecond<<i {
				t.Errorf("looks again after %v", d)
			}
			time.Sleep(w.events.lastWait())
		}
		wantVersion(t, 2, next)
		w.Rejected(errors.New("no"))
		next = w.startNext(t.Context())
		time.Sleep(time.Hour)
		w.happen()
		wantNone(t, "rejected", next)
		if d := w.events.lastWait(); d != 0 {
			t.Errorf("rejected: waits for %v", d)
		}
		// What passes within a second is not worth a line.
		if lines := w.logged.take(); !slices.Equal(lines, []string{"WARN new version rejected reason=no"}) {
			t.Errorf("logged %q", lines)
		}
		armed, _ := w.events.seen()
		w.deploy(2)
		w.happen()
		wantVersion(t, 2, next)
		w.Rejected(errors.New("no"))
		w.startNext(t.Context())
		if again, _ := w.events.seen(); again != armed+1 {
			t.Errorf("armed %d times after one event", again-armed)
		}
		if lines := w.logged.take(); len(lines) > 0 {
			t.Errorf("logged the same reason again: %q", lines)
		}
	})
}

// TestWatcherUnanswered: a candidate without an answer is closed, and returned again.
func TestWatcherUnanswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTestWatcher(t)
		w.deploy(2)
		wantVersion(t, 2, w.startNext(t.Context()))
		before := w.sys.OpenFiles()
		wantVersion(t, 2, w.startNext(t.Context()))
		if n := w.sys.OpenFiles(); n != before {
			t.Errorf("%d files are open, %d before", n, before)
		}
	})
}

// TestWatcherLookAgainLogs: a reason to look again is logged if it does not pass.
func TestWatcherLookAgainLogs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTestWatcher(t)
		w.deploy(2)
		for range 20 {
			next := w.startNext(t.Context())
			time.Sleep(time.Second)
			wantVersion(t, 2, next)
			w.LookAgain(errors.New("no signature"))
		}
		if lines := w.logged.take(); !slices.Equal(lines, []string{"WARN new version not ready yet reason=\"no signature\""}) {
			t.Errorf("logged %q", lines)
		}
	})
}

// TestWatcherWithoutEvents: it polls, says so, and tries for events again.
func TestWatcherWithoutEvents(t *testing.T) {
	for _, test := range []struct {
		interval, want time.Duration
	}{
		{0, DefaultPollInterval},
		{5 * time.Second, 5 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newTestWatcher(t)
			w.PollInterval = test.interval
			reason := errors.New("no space left on device")
			w.events.fail(reason, reason)
			next := w.startNext(t.Context())
			if got, want := w.Mode(), (Mode{Events: true, Poll: test.want, Reason: reason}); got != want {
				t.Errorf("mode %v, want %v", got, want)
			}
			time.Sleep(rearmInterval - 1)
			synctest.Wait()
			if armed, _ := w.events.seen(); armed != 1 {
				t.Errorf("armed %d times", armed)
			}
			time.Sleep(rearmInterval / 3)
			synctest.Wait()
			if armed, _ := w.events.seen(); armed != 2 {
				t.Errorf("armed %d times, want 2", armed)
			}
			time.Sleep(2 * rearmInterval)
			wantNone(t, "nothing new", next)
			armed, _ := w.events.seen()
			if got, want := w.Mode(), (Mode{Events: true, Poll: test.interval}); got != want || armed != 3 {
				t.Errorf("mode %v, want %v; armed %d times", got, want, armed)
			}
			if got := w.logged.take(); len(got) != 2 || !strings.HasPrefix(got[0], "WARN") || !strings.HasPrefix(got[1], "INFO") {
				t.Errorf("logged %q", got)
			}

			w.events.fail(reason)
			w.happen()
			synctest.Wait()
			start := time.Now()
			w.deploy(2)
			time.Sleep(test.want)
			if c := wantVersion(t, 2, next); c.Seen.Sub(start) > test.want {
				t.Errorf("found after %v", c.Seen.Sub(start))
			}
		})
	}
}

// TestWatcherUnsupported: where there never are events, the watcher does not try again.
func TestWatcherUnsupported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTestWatcher(t)
		w.events.fail(fmt.Errorf("here: %w", errors.ErrUnsupported))
		next := w.startNext(t.Context())
		time.Sleep(time.Hour)
		wantNone(t, "nothing new", next)
		if armed, _ := w.events.seen(); armed != 1 || w.Mode().Poll != DefaultPollInterval {
			t.Errorf("armed %d times, mode %v", armed, w.Mode())
		}
		w.deploy(2)
		time.Sleep(DefaultPollInterval)
		wantVersion(t, 2, next)
	})
}

// failingEvents can be armed and not waited for.
type failingEvents struct {
	*scriptedEvents
	err error
}

func (e *failingEvents) Wait(context.Context, time.Duration, EntryID) (bool, error) {
	return false, e.err
}

// TestWatcherReplacesEvents: an event source that fails is closed, and after a moment
// another one is opened.
func TestWatcherReplacesEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTestWatcher(t)
		failing := &failingEvents{w.events, errors.New("bad file descriptor")}
		w.source = failing
		w.arm()
		start := time.Now()
		event, err := w.wait(t.Context(), time.Minute)
		if !event || err != nil || !w.events.closed || w.source != nil {
			t.Fatalf("event %t, %v; closed: %t, left: %v", event, err, w.events.closed, w.source)
		}
		if took := time.Since(start); took != replaceDelay {
			t.Errorf("after %v", took)
		}
		w.source = failing
		next := w.startNext(t.Context())
		time.Sleep(replaceDelay)
		synctest.Wait()
		if w.events.opened != 1 {
			t.Errorf("opened %d sources", w.events.opened)
		}
		w.deploy(2)
		w.happen()
		wantVersion(t, 2, next)

		// The end of the context does not wait for that moment.
		w.source = failing
		cause := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(cause)
		if _, err := w.wait(ctx, time.Minute); err != cause {
			t.Errorf("got %v, want %v", err, cause)
		}
	})
}

// TestWatcherNextAfterClose: a candidate that was accepted is closed with the watcher.
func TestWatcherNextAfterClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTestWatcher(t)
		w.deploy(2)
		wantVersion(t, 2, w.startNext(t.Context()))
		w.Accepted()
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		cause := errors.New("called off")
		cancel(cause)
		if _, err := w.Next(ctx); err != cause {
			t.Errorf("got %v, want %v", err, cause)
		}
	})
}
