//go:build unix

package autorestart

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// scriptedEvents is an event source that does as it is told, in the time of a
// synctest bubble.
type scriptedEvents struct {
	happen chan struct{} // an event for each

	mu     sync.Mutex
	arms   []error // what the next calls of arm answer; then nil
	missed bool    // whether the next arm says that something may have happened
	waits  []time.Duration
	armed  int
	closed bool
}

// failing has the next calls of arm fail.
func (e *scriptedEvents) failing(reasons ...error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.arms = reasons
}

// seen returns how often arm was called, and how long wait was to wait.
func (e *scriptedEvents) seen() (armed int, waits []time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.armed, slices.Clone(e.waits)
}

func (e *scriptedEvents) arm(string) (bool, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.armed++
	var err error
	if len(e.arms) > 0 {
		err, e.arms = e.arms[0], e.arms[1:]
	}
	missed := e.missed
	e.missed = false
	return missed, err
}

func (e *scriptedEvents) wait(done <-chan struct{}, d time.Duration) (bool, error) {
	e.mu.Lock()
	e.waits = append(e.waits, d)
	e.mu.Unlock()
	var expired <-chan time.Time
	if d > 0 {
		expired = time.After(d)
	}
	select {
	case <-e.happen:
		return true, nil
	case <-expired:
		return false, nil
	case <-done:
		return false, errDone
	}
}

func (e *scriptedEvents) release() error {
	e.closed = true
	return nil
}

// failingEvents are of no use once they are waited for.
type failingEvents struct {
	*scriptedEvents
	err error
}

func (e *failingEvents) wait(<-chan struct{}, time.Duration) (bool, error) { return false, e.err }

// program is an ELF image for the kind that the watchers of these tests run as;
// version makes the difference.
func program(version byte) []byte {
	parts := newELF(elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_X86_64)
	parts.interp = ""
	return append(parts.build(nil), version)
}

// deploy puts content at path by renaming.
func deploy(t *testing.T, path string, content []byte, mode os.FileMode) {
	t.Helper()
	err := errors.Join(os.WriteFile(path+"~", content, mode), os.Chmod(path+"~", mode), os.Rename(path+"~", path))
	if err != nil {
		t.Fatal(err)
	}
}

// newTestWatcher watches a path where version 1, which it is told runs, has
// been deployed.
func newTestWatcher(t *testing.T) (*Watcher, *scriptedEvents, *capturedLog) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "app")
	deploy(t, path, program(1), 0o755)
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	id, err := statFile(f)
	if err != nil {
		t.Fatal(err)
	}
	kind, err := readKind(f, id.size)
	if err != nil {
		t.Fatal(err)
	}
	e := &scriptedEvents{happen: make(chan struct{})}
	log := new(capturedLog)
	w := &Watcher{path: path, rules: rules{kind: kind, running: version{id: id, file: f}}, events: e, Logger: log}
	w.base = &w.rules.running
	return w, e, log
}

// nextResult is what a call of Next returned, and when.
type nextResult struct {
	change Change
	err    error
	took   time.Duration
}

// startNext calls Next. It is in its wait when this returns, unless there is a
// result.
func startNext(ctx context.Context, w *Watcher) <-chan nextResult {
	results := make(chan nextResult, 1)
	go func() {
		start := time.Now()
		change, err := w.Next(ctx)
		results <- nextResult{change, err, time.Since(start)}
	}()
	synctest.Wait()
	return results
}

func wantChange(t *testing.T, what string, results <-chan nextResult) nextResult {
	t.Helper()
	synctest.Wait()
	select {
	case r := <-results:
		if r.err != nil {
			t.Fatalf("%s: %v", what, r.err)
		}
		return r
	default:
		t.Fatalf("%s: Next did not return", what)
		panic("unreachable")
	}
}

func wantNone(t *testing.T, what string, results <-chan nextResult) {
	t.Helper()
	synctest.Wait()
	select {
	case r := <-results:
		t.Fatalf("%s: Next returned %+v", what, r)
	default:
	}
}

func TestWatcherVersions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, e, log := newTestWatcher(t)
		next := startNext(t.Context(), w)
		wantNone(t, "at the start", next)

		e.happen <- struct{}{}
		wantNone(t, "an event and no change", next)
		deploy(t, w.path, program(1), 0o755)
		e.happen <- struct{}{}
		wantNone(t, "the same content", next)
		if err := os.Chtimes(w.path, time.Unix(1, 0), time.Unix(1, 0)); err != nil {
			t.Fatal(err)
		}
		e.happen <- struct{}{}
		wantNone(t, "touched", next)
		wantNoTimeout := func() {
			t.Helper()
			_, waits := e.seen()
			if d := waits[len(waits)-1]; d != 0 {
				t.Errorf("waited for %v, where events tell", d)
			}
		}
		wantNoTimeout()
		if err := os.Rename(w.path, w.path+".old"); err != nil {
			t.Fatal(err)
		}
		e.happen <- struct{}{}
		wantNone(t, "gone", next)
		if _, waits := e.seen(); waits[len(waits)-1] == 0 {
			t.Error("waits for events alone, where a mount may come")
		}

		deploy(t, w.path, program(2), 0o755)
		e.happen <- struct{}{}
		got := wantChange(t, "version 2", next)
		if got.change.Path != w.path || got.change.Size != int64(len(program(2))) || !got.change.Seen.Equal(time.Now()) {
			t.Errorf("got %+v", got.change)
		}

		next = startNext(t.Context(), w)
		wantNone(t, "after version 2 was reported", next)
		wantNoTimeout()
		deploy(t, w.path, program(2), 0o755)
		e.happen <- struct{}{}
		wantNone(t, "version 2 again", next)
		deploy(t, w.path, program(1), 0o755)
		e.happen <- struct{}{}
		wantChange(t, "back to version 1", next)

		// What happens between two calls is found by the second.
		deploy(t, w.path, program(3), 0o755)
		wantChange(t, "version 3", startNext(t.Context(), w))
		if lines := log.take(); len(lines) > 0 {
			t.Errorf("logged %q", lines)
		}
		if err := w.Close(); err != nil || !e.closed {
			t.Errorf("Close: %v, events closed: %t", err, e.closed)
		}
	})
}

// What is not ready is looked at again at a growing delay, and after an event
// soon: a close may be told of a moment before the writer has gone.
func TestWatcherLooksSoonAfterEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, e, _ := newTestWatcher(t)
		defer w.Close()
		next := startNext(t.Context(), w)
		deploy(t, w.path, program(2), 0o644)
		e.happen <- struct{}{}
		time.Sleep(time.Minute)
		wantNone(t, "not executable", next)
		if _, waits := e.seen(); waits[len(waits)-1] != time.Second {
			t.Errorf("waits for %v after a minute", waits[len(waits)-1])
		}
		e.happen <- struct{}{}
		wantNone(t, "not executable yet", next)
		if _, waits := e.seen(); waits[len(waits)-1] != 2*time.Millisecond {
			t.Errorf("waits for %v after an event", waits[len(waits)-1])
		}
		if err := os.Chmod(w.path, 0o755); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Millisecond)
		wantChange(t, "version 2", next)
	})
}

func TestWatcherContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _, _ := newTestWatcher(t)
		defer w.Close()
		cause := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		next := startNext(ctx, w)
		time.Sleep(time.Hour)
		cancel(cause)
		synctest.Wait()
		if r := <-next; r.err != cause || r.took != time.Hour {
			t.Errorf("got %+v, want %v", r, cause)
		}
		// The watcher is as good as before.
		deploy(t, w.path, program(2), 0o755)
		wantChange(t, "with another context", startNext(t.Context(), w))
	})
}

// TestWatcherMissed: what came while the watches were made is looked at, though
// no event tells of it.
func TestWatcherMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, e, _ := newTestWatcher(t)
		defer w.Close()
		late := &deployOnArm{scriptedEvents: e, deploy: func() { deploy(t, w.path, program(2), 0o755) }}
		w.events = late
		wantChange(t, "deployed before the watch", startNext(t.Context(), w))
		if armed, waits := e.seen(); armed != 1 || len(waits) != 0 {
			t.Errorf("armed %d times, waited %v", armed, waits)
		}
	})
}

type deployOnArm struct {
	*scriptedEvents
	deploy func()
}

func (e *deployOnArm) arm(path string) (bool, error) {
	e.deploy()
	e.mu.Lock()
	e.missed = true
	e.mu.Unlock()
	return e.scriptedEvents.arm(path)
}

// TestWatcherNotReady: what is not ready yet is looked at again, without an
// event, at a pace that slows down.
func TestWatcherNotReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, e, log := newTestWatcher(t)
		defer w.Close()
		next := startNext(t.Context(), w)
		deploy(t, w.path, program(2), 0o644)
		e.happen <- struct{}{}
		wantNone(t, "not executable", next)
		time.Sleep(refusalPatience / 2)
		if lines := log.take(); len(lines) > 0 {
			t.Errorf("logged %q so soon", lines)
		}
		time.Sleep(time.Minute)
		wantNone(t, "still not executable", next)
		if lines := log.take(); len(lines) != 1 || !strings.HasPrefix(lines[0], "WARN new version not ready yet reason=") {
			t.Errorf("logged %q", lines)
		}
		_, waits := e.seen()
		waits = waits[1:]
		if waits[0] > 10*time.Millisecond || slices.Max(waits) != time.Second || !slices.IsSorted(waits) {
			t.Errorf("looked again after %v", waits)
		}
		// The pace starts anew with the next candidate.
		deploy(t, w.path, program(1), 0o755)
		e.happen <- struct{}{}
		synctest.Wait()
		_, before := e.seen()
		deploy(t, w.path, program(3), 0o644)
		e.happen <- struct{}{}
		synctest.Wait()
		if _, after := e.seen(); len(after) != len(before)+1 || after[len(before)] != waits[0] {
			t.Errorf("another candidate: looks again after %v, want %v", after[len(before):], waits[0])
		}
		if err := os.Chmod(w.path, 0o755); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		wantChange(t, "executable, and no event", next)
	})
}

// TestWatcherRefused: what will not do as it is, is left alone until it changes.
func TestWatcherRefused(t *testing.T) {
	other := newELF(elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_AARCH64).build(nil)
	object := newELF(elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_X86_64).build(func(p *elfParts) { p.typ = elf.ET_REL })
	for name, content := range map[string][]byte{
		"another machine": other,
		"object file":     object,
		"script":          []byte("#!/bin/sh\n"),
		"garbage":         []byte("garbage"),
	} {
		synctest.Test(t, func(t *testing.T) {
			w, e, log := newTestWatcher(t)
			defer w.Close()
			next := startNext(t.Context(), w)
			deploy(t, w.path, content, 0o755)
			for range 3 {
				e.happen <- struct{}{}
				wantNone(t, name, next)
			}
			if lines := log.take(); len(lines) != 1 || !strings.HasPrefix(lines[0], "WARN new version refused reason=") {
				t.Errorf("%s: logged %q", name, lines)
			}
			if _, waits := e.seen(); waits[len(waits)-1] != 0 {
				t.Errorf("%s: waited %v", name, waits)
			}
			// It is worth another line when there was something good in between.
			deploy(t, w.path, program(1), 0o755)
			e.happen <- struct{}{}
			synctest.Wait()
			deploy(t, w.path, content, 0o755)
			e.happen <- struct{}{}
			wantNone(t, name+" again", next)
			if lines := log.take(); len(lines) != 1 {
				t.Errorf("%s again: logged %q", name, lines)
			}
			deploy(t, w.path, program(2), 0o755)
			e.happen <- struct{}{}
			wantChange(t, "after "+name, next)
		})
	}
}

// TestWatcherUnsteady: where the format does not tell when a file is complete,
// it has to stay as it is from one look to the next.
func TestWatcherUnsteady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, e, _ := newTestWatcher(t)
		defer w.Close()
		w.rules.kind = imageKind{magic: "#!"}
		next := startNext(t.Context(), w)
		for i := range 5 {
			deploy(t, w.path, fmt.Append(nil, "#!/bin/sh\n# ", i, "\n"), 0o755)
			e.happen <- struct{}{}
			wantNone(t, "growing", next)
		}
		time.Sleep(time.Second)
		wantChange(t, "steady", next)
	})
}

// TestWatcherAccept: who has the last word is asked again only about what may
// still become fit.
func TestWatcherAccept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, e, log := newTestWatcher(t)
		defer w.Close()
		answers := []error{&RejectedError{Found: "a", Expected: "b", Retryable: true}, &RejectedError{Retryable: true}, errors.New("no")}
		var asked atomic.Int32
		w.accept = func(_ <-chan struct{}, c *candidate) error {
			n := int(asked.Add(1))
			if n > len(answers) {
				return nil
			}
			return answers[n-1]
		}
		next := startNext(t.Context(), w)
		if asked.Load() != 0 {
			t.Error("asked about the version that runs")
		}
		deploy(t, w.path, program(2), 0o755)
		e.happen <- struct{}{}
		time.Sleep(time.Hour)
		e.happen <- struct{}{}
		wantNone(t, "refused", next)
		// What passes within a second is not worth a line.
		if lines := log.take(); asked.Load() != 3 || !slices.Equal(lines, []string{"WARN new version refused reason=no"}) {
			t.Errorf("asked %d times, logged %q", asked.Load(), lines)
		}
		deploy(t, w.path, program(2), 0o755)
		e.happen <- struct{}{}
		wantChange(t, "deployed again", next)
	})
}

// TestWatcherWithoutEvents: it polls, says so, and tries for events again.
func TestWatcherWithoutEvents(t *testing.T) {
	for _, test := range []struct {
		interval, want time.Duration
	}{
		{0, defaultPollInterval},
		{5 * time.Second, 5 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			w, e, log := newTestWatcher(t)
			defer w.Close()
			w.PollInterval = test.interval
			reason := errors.New("no space left on device")
			e.failing(reason, reason)
			next := startNext(t.Context(), w)
			if got, want := w.Mode(), (WatchMode{Events: true, Poll: test.want, Reason: reason}); got != want {
				t.Errorf("mode %v, want %v", got, want)
			}
			time.Sleep(rearmInterval - 1)
			synctest.Wait()
			if armed, _ := e.seen(); armed != 1 {
				t.Errorf("armed %d times", armed)
			}
			time.Sleep(rearmInterval / 3)
			synctest.Wait()
			if armed, _ := e.seen(); armed != 2 {
				t.Errorf("armed %d times, want 2", armed)
			}
			time.Sleep(2 * rearmInterval)
			wantNone(t, "nothing new", next)
			armed, _ := e.seen()
			if got, want := w.Mode(), (WatchMode{Events: true, Poll: test.interval}); got != want || armed != 3 {
				t.Errorf("mode %v, want %v; armed %d times", got, want, armed)
			}
			if got := log.take(); len(got) != 2 || !strings.HasPrefix(got[0], "WARN") || !strings.HasPrefix(got[1], "INFO") {
				t.Errorf("logged %q", got)
			}

			e.failing(reason)
			e.happen <- struct{}{}
			synctest.Wait()
			start := time.Now()
			deploy(t, w.path, program(2), 0o755)
			time.Sleep(test.want)
			r := wantChange(t, "by polling", next)
			if took := r.change.Seen.Sub(start); took > test.want {
				t.Errorf("found after %v", took)
			}
		})
	}
}

// TestWatcherUnsupported: where there never are events, nobody tries again.
func TestWatcherUnsupported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, e, _ := newTestWatcher(t)
		defer w.Close()
		e.failing(fmt.Errorf("here: %w", errors.ErrUnsupported))
		next := startNext(t.Context(), w)
		time.Sleep(time.Hour)
		wantNone(t, "nothing new", next)
		if armed, _ := e.seen(); armed != 1 || w.Mode().Poll != defaultPollInterval {
			t.Errorf("armed %d times, mode %v", armed, w.Mode())
		}
		deploy(t, w.path, program(2), 0o755)
		time.Sleep(defaultPollInterval)
		wantChange(t, "by polling", next)
	})
}

// TestWatcherReplacesEvents: an event source that fails is closed, and after a
// moment another one made.
func TestWatcherReplacesEvents(t *testing.T) {
	w, e, _ := newTestWatcher(t)
	defer w.Close()
	w.PollInterval = time.Millisecond // where there are no events, this takes over
	w.events = &failingEvents{e, errors.New("bad file descriptor")}
	w.arm()
	start := time.Now()
	event, err := w.wait(nil, time.Minute)
	if !event || err != nil || !e.closed || w.events != nil {
		t.Fatalf("event %t, %v; closed: %t, left: %v", event, err, e.closed, w.events)
	}
	if took := time.Since(start); took < replaceDelay {
		t.Errorf("at once: after %v", took)
	}
	w.events = &failingEvents{e, errors.New("bad file descriptor")}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	deploy(t, w.path+".new", program(2), 0o755)
	go os.Rename(w.path+".new", w.path)
	if change, err := w.Next(ctx); err != nil {
		t.Errorf("got %+v, %v", change, err)
	}

	// The end of the context does not wait for that moment.
	w.events = &failingEvents{e, errors.New("bad file descriptor")}
	closed := make(chan struct{})
	close(closed)
	if _, err := w.wait(closed, time.Minute); err != errDone {
		t.Errorf("got %v, want %v", err, errDone)
	}
}
