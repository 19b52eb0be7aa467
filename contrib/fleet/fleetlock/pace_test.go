package fleetlock

import (
	"testing"
	"time"
)

func TestPauseLimit(t *testing.T) {
	for _, tt := range []struct {
		attempt  int
		interval time.Duration
		want     time.Duration
	}{
		{0, 0, time.Second},
		{1, 0, 2 * time.Second},
		{4, 0, 16 * time.Second},
		{5, 0, 30 * time.Second},
		{1 << 62, 0, 30 * time.Second},
		{0, -1, time.Second},
		{0, time.Millisecond, time.Millisecond},
		{9, time.Hour, 512 * time.Second},
		{100, time.Hour, time.Hour},
		{1000, 1<<63 - 1, 1<<63 - 1},
	} {
		if got := pauseLimit(tt.attempt, tt.interval); got != tt.want {
			t.Errorf("attempt %d, interval %v: %v, want %v", tt.attempt, tt.interval, got, tt.want)
		}
	}
}

func TestPause(t *testing.T) {
	var least, most time.Duration = 1 << 62, 0
	for range 10_000 {
		p := pause(2, time.Minute, time.Hour)
		least, most = min(least, p), max(most, p)
	}
	if least <= time.Hour || least > time.Hour+100*time.Millisecond || most > time.Hour+4*time.Second || most < time.Hour+3900*time.Millisecond {
		t.Errorf("pauses are from %v to %v, want all from 1h to 1h0m4s", least, most)
	}
}
