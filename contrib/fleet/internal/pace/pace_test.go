package pace

import (
	"slices"
	"testing"
	"time"
)

func TestNotice(t *testing.T) {
	var n Notice
	start := time.Unix(0, 0)
	if _, was := n.Over(); was {
		t.Error("there was a trouble before the first")
	}
	for range 2 {
		var logged []time.Duration
		for d := time.Duration(0); d <= 5*time.Hour; d += time.Second {
			if since, due := n.Due(start.Add(d)); !since.Equal(start) || !since.Equal(n.Since()) {
				t.Fatalf("since %v, %v; want %v", since, n.Since(), start)
			} else if due {
				logged = append(logged, d)
			}
		}
		want := []time.Duration{0, time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute, 16 * time.Minute, 32 * time.Minute,
			64 * time.Minute, 124 * time.Minute, 184 * time.Minute, 244 * time.Minute}
		if !slices.Equal(logged, want) {
			t.Errorf("logged after %v, want %v", logged, want)
		}
		if since, was := n.Over(); !was || !since.Equal(start) {
			t.Errorf("over: %v, %v", since, was)
		}
	}
}
