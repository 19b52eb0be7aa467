package health

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/autorestart-go/autorestart/internal/drain"
)

// moments are the times at which checks have begun.
type moments struct {
	mu   sync.Mutex
	list []time.Duration
}

// add returns how many there are now.
func (m *moments) add(at time.Duration) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.list = append(m.list, at)
	return len(m.list)
}

func (m *moments) all() []time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.list)
}

// A script says what the check does in each of its calls; the last entry holds for all that follow.
type script []func(ctx context.Context) error

func good(context.Context) error { return nil }

// takes returns a check that takes a while.
func takes(d time.Duration) func(context.Context) error {
	return func(context.Context) error { time.Sleep(d); return nil }
}

// hangs ignores the end of its context.
func hangs(context.Context) error { time.Sleep(24 * time.Hour); return nil }

// TestWatch: when the checks are made, and what comes of them.
func TestWatch(t *testing.T) {
	const second = time.Second
	for name, test := range map[string]struct {
		script script
		within time.Duration
		known  time.Duration // when the function is known
		begun  []time.Duration
		want   string
		took   time.Duration
	}{
		"healthy":              {script{good}, 2500 * time.Millisecond, 0, []time.Duration{0, second, 2 * second, 2500 * time.Millisecond}, "", 2500 * time.Millisecond},
		"shorter than a pause": {script{good}, 10 * time.Millisecond, 0, []time.Duration{0, 10 * time.Millisecond}, "", 10 * time.Millisecond},
		"at once": {script{func(context.Context) error { return errors.New("no database") }}, time.Hour, 0,
			[]time.Duration{0}, "Check failed: no database", 0},
		"later": {script{good, good, func(context.Context) error { return fs.ErrNotExist }}, time.Hour, 0,
			[]time.Duration{0, second, 2 * second}, "Check failed: file does not exist", 2 * second},
		"at the end": {script{good, func(context.Context) error { return fs.ErrNotExist }}, 10 * time.Millisecond, 0,
			[]time.Duration{0, 10 * time.Millisecond}, "Check failed: file does not exist", 10 * time.Millisecond},
		"panic": {script{good, func(context.Context) error { panic("oh") }}, time.Hour, 0,
			[]time.Duration{0, second}, "Check panicked: oh", second},
		"error that panics": {script{func(context.Context) error { return (*fs.PathError)(nil) }}, time.Hour, 0,
			[]time.Duration{0}, "Check failed: with a value that can't be printed", 0},
		"hangs":                {script{hangs}, time.Hour, 0, []time.Duration{0}, "Check has not returned within 10s", 11 * second},
		"hangs beyond the end": {script{hangs}, second, 0, []time.Duration{0}, "Check has not returned within 10s", 11 * second},
		"heeds its context": {script{func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) }}, time.Hour, 0,
			[]time.Duration{0}, "Check failed: context deadline exceeded", 10 * second},
		"slow":                  {script{takes(2 * second)}, 4 * second, 0, []time.Duration{0, 3 * second, 5 * second}, "", 7 * second},
		"known later":           {script{good}, 2 * second, 1500 * time.Millisecond, []time.Duration{1500 * time.Millisecond, 2 * second}, "", 2 * second},
		"known when it is over": {script{good}, second, 2 * second, nil, "", second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				var begun moments
				c := New(new(drain.Group))
				c.Use(nil)
				use := func() {
					c.Use(func(ctx context.Context) error {
						n := begun.add(time.Since(start))
						return test.script[min(n, len(test.script))-1](ctx)
					})
					c.Use(func(context.Context) error { panic("the second function") })
				}
				if test.known == 0 {
					use()
				} else {
					time.AfterFunc(test.known, use)
				}
				err := c.Watch(test.within)
				if err == nil && test.want != "" || err != nil && err.Error() != test.want {
					t.Errorf("%v, want %q", err, test.want)
				}
				if took := time.Since(start); took != test.took || !slices.Equal(begun.all(), test.begun) {
					t.Errorf("took %v with checks after %v, want %v with %v", took, begun.all(), test.took, test.begun)
				}
				time.Sleep(48 * time.Hour) // what hangs has to end before the bubble
			})
		})
	}
}

// A stuckDrainer is drained until released.
type stuckDrainer struct{ released chan struct{} }

func (stuckDrainer) Quiesce() {}
func (d stuckDrainer) Drain(ctx context.Context) error {
	<-d.released
	return nil
}
func (stuckDrainer) Resume() {}

// TestNoCheckWhileDrained: a program that accepts nothing, because a newer version comes, can't
// answer itself. A restart that is called off is followed by another check.
func TestNoCheckWhileDrained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g drain.Group
		released := make(chan struct{})
		g.Register(stuckDrainer{released})
		start := time.Now()
		var begun moments
		var serving atomic.Bool
		serving.Store(true)
		c := New(&g)
		c.Use(func(ctx context.Context) error {
			begun.add(time.Since(start))
			if time.Sleep(time.Second); !serving.Load() {
				<-ctx.Done()
				return context.Cause(ctx)
			}
			return nil
		})
		result := make(chan error, 1)
		go func() { result <- c.Watch(time.Minute) }()
		time.Sleep(2500 * time.Millisecond) // during the second check
		serving.Store(false)
		go func() {
			d, _ := g.Begin(t.Context(), time.Minute, nil)
			serving.Store(true)
			d.Resume()
		}()
		time.AfterFunc(20*time.Second, func() { close(released) })
		if err := <-result; err != nil {
			t.Error(err)
		}
		want := []time.Duration{0, 2 * time.Second, 22500 * time.Millisecond, 24500 * time.Millisecond}
		if got := begun.all()[:len(want)]; !slices.Equal(got, want) {
			t.Errorf("checks after %v, want %v", got, want)
		}
	})
}

// An error of a check that was under way during a drain does not count either when the drain has
// ended by then.
func TestErrorFromADrainThatHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g drain.Group
		start := time.Now()
		var begun moments
		c := New(&g)
		c.Use(func(ctx context.Context) error {
			if begun.add(time.Since(start)) == 1 {
				time.Sleep(3 * time.Second)
				return errors.New("no answer")
			}
			return nil
		})
		time.AfterFunc(time.Second, func() {
			d, _ := g.Begin(t.Context(), time.Minute, nil)
			time.Sleep(time.Second)
			d.Resume()
		})
		if err := c.Watch(2 * time.Second); err != nil {
			t.Error(err)
		}
		if got, want := begun.all(), []time.Duration{0, 3 * time.Second, 3 * time.Second}; !slices.Equal(got, want) {
			t.Errorf("checks after %v, want %v", got, want)
		}
	})
}

// A check that is known is made also if the time is over before Watch looks, as on a busy machine.
func TestKnownCheckIsMade(t *testing.T) {
	for i := range 100 {
		c := New(new(drain.Group))
		c.Use(func(context.Context) error { return errors.New("no database") })
		if c.Watch(0) == nil {
			t.Fatalf("call %d: healthy without a check", i)
		}
	}
}
