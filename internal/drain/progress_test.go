package drain

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// jobs is a Drainer that says how many jobs it waits for.
type jobs struct {
	hooks
	left atomic.Int64
	ask  func() // called by Unfinished; nil does nothing
}

// newJobs returns a Drainer that finishes a job in 3.5 seconds.
func newJobs(n int64) *jobs {
	j := new(jobs)
	j.left.Store(n)
	j.drain = func(ctx context.Context) error {
		for j.left.Load() > 0 {
			select {
			case <-time.After(3500 * time.Millisecond):
				j.left.Add(-1)
			case <-ctx.Done():
				return errors.New("jobs are left")
			}
		}
		return nil
	}
	return j
}

func (j *jobs) Unfinished() string {
	call(j.ask)
	if n := j.left.Load(); n > 0 {
		return fmt.Sprint(n, " jobs")
	}
	return ""
}

// progress records what a drain waits for, and when.
type progress struct {
	start time.Time
	lines []string
}

func (p *progress) add(unfinished []string) {
	p.lines = append(p.lines, fmt.Sprintf("%v%v", time.Since(p.start), unfinished))
}

func beginWith(t *testing.T, g *Group, timeout time.Duration) (Drained, []string) {
	t.Helper()
	p := progress{start: time.Now()}
	d, err := g.Begin(t.Context(), timeout, p.add)
	if err != nil {
		t.Fatal(err)
	}
	return d, p.lines
}

// TestProgress: a drain says what it waits for after a second, and then less and less often.
func TestProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Group
		g.Register(newJobs(0))
		g.Register(newJobs(1))
		own := new(hooks)
		own.drain = func(ctx context.Context) error { <-ctx.Done(); return errors.New("mail is left") }
		g.Register(own)
		lines := logLines()
		d, got := beginWith(t, &g, 200500*time.Millisecond)
		want := []string{
			"1s[1 jobs *drain.hooks]", "3s[1 jobs *drain.hooks]", "7s[*drain.hooks]", "15s[*drain.hooks]", "31s[*drain.hooks]", "1m3s[*drain.hooks]",
			"2m3s[*drain.hooks]", "3m3s[*drain.hooks]",
		}
		if !slices.Equal(got, want) {
			t.Errorf("got  %q\nwant %q", got, want)
		}
		if got, want := d.Unfinished(), []string{"*drain.hooks: mail is left"}; !slices.Equal(got, want) {
			t.Errorf("unfinished: %q, want %q", got, want)
		}
		lines.want(t, "raise DrainTimeout to wait longer timeout 3m20.5s closing *drain.hooks: mail is left")
		d.Resume()
	})
}

// TestUnfinished: when the time is up, a Drainer says what it has not finished.
func TestUnfinished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Group
		g.Register(newJobs(5))
		g.Register(newJobs(7))
		d, _ := beginWith(t, &g, 8*time.Second)
		got := d.Unfinished()
		slices.Sort(got)
		if want := []string{"3 jobs", "5 jobs"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		late := newJobs(1)
		g.Register(late) // for which no time is left
		d.Seal()
		if got := d.Unfinished(); len(got) != 3 || got[2] != "1 jobs" {
			t.Errorf("after the seal: %q", got)
		}
		d.Resume()
	})
}

// TestUnfinishedBlocks: an Unfinished that does not return, or panics, holds nothing up.
func TestUnfinishedBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Group
		release := make(chan struct{})
		blocking, panicking := newJobs(100), newJobs(100)
		blocking.ask = func() { <-release }
		panicking.ask = func() { panic("no text") }
		g.Register(blocking)
		g.Register(panicking)
		start := time.Now()
		d, got := beginWith(t, &g, 10*time.Second)
		if took := time.Since(start); took > 10*time.Second+hookTimeout {
			t.Errorf("took %v", took)
		}
		const names = "[*drain.jobs *drain.jobs]"
		if len(got) == 0 || got[0] != "2s"+names { // after hookTimeout
			t.Errorf("got %q", got)
		}
		if got := fmt.Sprint(d.Unfinished()); got != names {
			t.Errorf("unfinished: %q", got)
		}
		close(release)
		d.Resume()
	})
}

// TestDrainFails: a Drain that fails before its time is up is logged, and its error is what is
// not finished.
func TestDrainFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lines := logLines()
		var g Group
		g.Register(&hooks{drain: func(context.Context) error { return errors.New("the disk is full") }})
		d, _ := beginWith(t, &g, time.Minute)
		if got, want := d.Unfinished(), []string{"*drain.hooks: the disk is full"}; !slices.Equal(got, want) {
			t.Errorf("unfinished: %q, want %q", got, want)
		}
		lines.want(t, "a Drainer failed drainer *drain.hooks method Drain reason the disk is full")
		d.Resume()
	})
}
