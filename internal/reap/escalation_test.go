package reap

import (
	"slices"
	"syscall"
	"testing"
	"time"
)

// hupIntTerm is the schedule of a Reaper without one of its own.
var hupIntTerm = []Step{{syscall.SIGHUP, 5 * time.Second}, {syscall.SIGINT, 2 * time.Minute}, {syscall.SIGTERM, time.Minute}}

func TestEscalation(t *testing.T) {
	type event struct {
		at  time.Duration
		sig syscall.Signal
	}
	for _, tt := range []struct {
		name  string
		steps []Step
		looks []time.Duration // when to look
		want  []event
		next  time.Duration // when the next step is due after that; -1 for never
	}{
		{"none", nil, []time.Duration{0, time.Hour}, nil, -1},
		{"too early", hupIntTerm, []time.Duration{0, 5*time.Second - 1}, nil, 5 * time.Second},
		{
			"in time", hupIntTerm,
			[]time.Duration{5 * time.Second, 125 * time.Second, 185 * time.Second, time.Hour},
			[]event{{5 * time.Second, syscall.SIGHUP}, {125 * time.Second, syscall.SIGINT}, {185 * time.Second, syscall.SIGTERM}}, -1,
		},
		{
			"never two at a time", hupIntTerm,
			[]time.Duration{time.Hour, time.Hour, time.Hour + 119*time.Second},
			[]event{{time.Hour, syscall.SIGHUP}}, time.Hour + 120*time.Second,
		},
		{
			"at once", []Step{{syscall.SIGTERM, 0}, {syscall.SIGKILL, time.Second}},
			[]time.Duration{0, time.Second},
			[]event{{0, syscall.SIGTERM}, {time.Second, syscall.SIGKILL}}, -1,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			start := time.Now()
			e := escalation{steps: tt.steps, last: start}
			var got []event
			for _, at := range tt.looks {
				if sig, ok := e.due(start.Add(at)); ok {
					got = append(got, event{at, sig})
				}
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("sent %v, want %v", got, tt.want)
			}
			next := time.Duration(-1)
			if at, ok := e.next(); ok {
				next = at.Sub(start)
			}
			if next != tt.next {
				t.Errorf("next at %v, want %v", next, tt.next)
			}
		})
	}
}

func TestScanPause(t *testing.T) {
	for took, want := range map[time.Duration]time.Duration{
		0:                      time.Millisecond,
		10 * time.Microsecond:  time.Millisecond,
		100 * time.Microsecond: 5 * time.Millisecond,
		10 * time.Millisecond:  50 * time.Millisecond,
	} {
		if got := scanPause(took); got != want {
			t.Errorf("scanPause(%v) = %v, want %v", took, got, want)
		}
	}
}
