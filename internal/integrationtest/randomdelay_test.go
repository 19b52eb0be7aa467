//go:build linux

package integrationtest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/autorestart-go/autorestart"
)

// delayOf returns how long a RandomDelay delays the restart into a version.
func delayOf(t *testing.T, g autorestart.Gate, c autorestart.Change, exe *os.File) time.Duration {
	t.Helper()
	begin := time.Now()
	if state, err := g.Acquire(t.Context(), c, exe); err != nil || state != nil {
		t.Errorf("Acquire: state %q, %v", state, err)
	}
	return time.Since(begin)
}

func build(id string) autorestart.Change {
	return autorestart.Change{New: autorestart.BuildInfo{ID: id}}
}

// The delay is the same in each process of a machine, and differs between versions.
func TestRandomDelayOfVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		delays := map[time.Duration]bool{}
		for i := range 20 {
			c := build(strconv.Itoa(i))
			delay := delayOf(t, autorestart.RandomDelay(time.Hour), c, nil)
			if again := delayOf(t, autorestart.RandomDelay(time.Hour), c, nil); again != delay {
				t.Errorf("version %d is delayed by %v in one process, by %v in another", i, delay, again)
			}
			if delay >= time.Hour {
				t.Errorf("version %d is delayed by %v", i, delay)
			}
			delays[delay] = true
		}
		if len(delays) < 20 {
			t.Errorf("20 versions have %d delays", len(delays))
		}
	})
}

// A version without a build ID is told by its content.
func TestRandomDelayOfContent(t *testing.T) {
	write := func(content string) (*os.File, autorestart.Change) {
		name := filepath.Join(t.TempDir(), "app")
		if err := os.WriteFile(name, []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
		exe, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { exe.Close() })
		return exe, autorestart.Change{Size: int64(len(content))}
	}
	one, oneChange := write("one")
	copied, copiedChange := write("one")
	two, twoChange := write("two")
	synctest.Test(t, func(t *testing.T) {
		g := func() autorestart.Gate { return autorestart.RandomDelay(time.Hour) }
		delay := delayOf(t, g(), oneChange, one)
		if other := delayOf(t, g(), copiedChange, copied); other != delay {
			t.Errorf("one content is delayed by %v and by %v", delay, other)
		}
		if other := delayOf(t, g(), twoChange, two); other == delay {
			t.Errorf("two contents are delayed by %v", delay)
		}
	})
	one.Close()
	if _, err := autorestart.RandomDelay(time.Hour).Acquire(t.Context(), oneChange, one); !errors.Is(err, os.ErrClosed) {
		t.Errorf("a file that can't be read: %v", err)
	}
}

// The delay counts from the time at which a version was asked for first, however often it is asked for.
func TestRandomDelayCountsFromFirstTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := build("one")
		delay := delayOf(t, autorestart.RandomDelay(time.Hour), c, nil)
		g := autorestart.RandomDelay(time.Hour)
		called := errors.New("called off")
		begin := time.Now()
		for range 3 {
			ctx, cancel := context.WithTimeoutCause(t.Context(), delay/5, called)
			if _, err := g.Acquire(ctx, c, nil); err != called {
				t.Errorf("Acquire: %v, want the cause of the end of its context", err)
			}
			cancel()
			time.Sleep(delay / 100)
		}
		if time.Since(begin) > delay*7/10 {
			t.Errorf("Acquire has returned %v after the begin, with contexts of a fifth of %v", time.Since(begin), delay)
		}
		delayOf(t, g, c, nil)
		if took := time.Since(begin); took != delay {
			t.Errorf("delayed by %v, want %v", took, delay)
		}
		if again := delayOf(t, g, c, nil); again != 0 {
			t.Errorf("delayed again, by %v", again)
		}

		newer := delayOf(t, autorestart.RandomDelay(time.Hour), build("two"), nil)
		if took := delayOf(t, g, build("two"), nil); took != newer {
			t.Errorf("a newer version is delayed by %v, want %v", took, newer)
		}
	})
}

// A version that is deployed again after its delay, because the version before was put back meanwhile, is delayed
// again: all machines see that deploy at the same time, too.
func TestRandomDelayOfVersionThatCameBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := build("one")
		delay := delayOf(t, autorestart.RandomDelay(time.Hour), c, nil)
		g := autorestart.RandomDelay(time.Hour)
		ctx, cancel := context.WithTimeout(t.Context(), delay/2)
		defer cancel()
		if _, err := g.Acquire(ctx, c, nil); err == nil {
			t.Error("leave after half of the delay")
		}
		time.Sleep(3 * time.Hour)
		if again := delayOf(t, g, c, nil); again != delay {
			t.Errorf("delayed by %v, want %v", again, delay)
		}
	})
}

func TestRandomDelayOfNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, d := range []time.Duration{0, -time.Hour} {
			g := autorestart.RandomDelay(d)
			if delay := delayOf(t, g, build("one"), nil); delay != 0 {
				t.Errorf("RandomDelay(%v) delays by %v", d, delay)
			}
			if err := g.Release(t.Context(), autorestart.GateResult{Outcome: autorestart.GateReady}); err != nil {
				t.Errorf("Release: %v", err)
			}
		}
	})
}
