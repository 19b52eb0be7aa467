//go:build linux

package overlap

import (
	"testing"
	"time"
)

func TestQuietWindows(t *testing.T) {
	start := time.Now()
	at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	changes := []window{around(at(500)), around(at(1500))}
	for n, want := range map[int]int{1: 1, 3: 3, 100: 8} {
		windows := quiet(window{at(0), at(2000)}, changes, n)
		if len(windows) != want {
			t.Errorf("%d windows of %d, want %d", len(windows), n, want)
		}
		for i, w := range windows {
			if w.touches(changes) || w.to.Sub(w.from) != windowSize || w.to.After(at(2000)) || i > 0 && w.overlaps(windows[i-1]) {
				t.Errorf("window %d of %d is from %v to %v", i, n, w.from.Sub(start), w.to.Sub(start))
			}
		}
	}
}

func TestSlowestRequestOfWindows(t *testing.T) {
	start := time.Now()
	at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	change, other := around(at(1000)), window{at(1200), at(1400)}
	requests := []request{
		{at(100), 50 * time.Millisecond},
		{at(890), 20 * time.Millisecond},
		{at(1050), 160 * time.Millisecond}, // touches both
		{at(1300), 30 * time.Millisecond},
	}
	if got := slowestIn([]window{change}, nil, requests); got != 160*time.Millisecond {
		t.Errorf("around the change: %v", got)
	}
	if got := slowestIn([]window{other}, []window{change}, requests); got != 30*time.Millisecond {
		t.Errorf("elsewhere: %v", got)
	}
}
