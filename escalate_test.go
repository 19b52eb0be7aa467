package autorestart

import (
	"context"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

func TestDefaultEscalation(t *testing.T) {
	want := []EscalationStep{{syscall.SIGHUP, 5 * time.Second}, {syscall.SIGINT, 2 * time.Minute}, {syscall.SIGTERM, time.Minute}}
	got := DefaultEscalation()
	if !slices.Equal(got, want) {
		t.Errorf("DefaultEscalation() = %v", got)
	}
	got[0].Signal = syscall.SIGKILL
	if !slices.Equal(DefaultEscalation(), want) {
		t.Error("a caller can change the default")
	}
}

func TestEscalation(t *testing.T) {
	type event struct {
		at  time.Duration
		sig syscall.Signal
	}
	for _, tt := range []struct {
		name  string
		steps []EscalationStep
		looks []time.Duration // when somebody looks
		want  []event
		next  time.Duration // when the next step is due after that; -1 for never
	}{
		{"none", nil, []time.Duration{0, time.Hour}, nil, -1},
		{"too early", DefaultEscalation(), []time.Duration{0, 5*time.Second - 1}, nil, 5 * time.Second},
		{
			"in time", DefaultEscalation(),
			[]time.Duration{5 * time.Second, 125 * time.Second, 185 * time.Second, time.Hour},
			[]event{{5 * time.Second, syscall.SIGHUP}, {125 * time.Second, syscall.SIGINT}, {185 * time.Second, syscall.SIGTERM}}, -1,
		},
		{
			"never two at a time", DefaultEscalation(),
			[]time.Duration{time.Hour, time.Hour, time.Hour + 119*time.Second},
			[]event{{time.Hour, syscall.SIGHUP}}, time.Hour + 120*time.Second,
		},
		{
			"at once", []EscalationStep{{syscall.SIGTERM, 0}, {syscall.SIGKILL, time.Second}},
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

func TestExitString(t *testing.T) {
	for want, e := range map[string]ChildExit{
		"exit status 0":                    {},
		"exit status 3":                    {Code: 3},
		"signal: killed":                   {Code: -1, Signal: syscall.SIGKILL},
		"signal: terminated (core dumped)": {Code: -1, Signal: syscall.SIGTERM, CoreDump: true},
		"waited for by somebody else":      {Code: -1, Lost: true},
	} {
		if got := e.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// A receiver that does not come back costs a bounded queue, and hears of it.
func TestReportsAreBounded(t *testing.T) {
	var told, warned atomic.Int64
	hold := make(chan struct{})
	r := startReports(func(ChildExit) { <-hold; told.Add(1) }, countWarnings{&warned})
	const n = 3 * maxReports
	for range n {
		r.reaped(&ChildExit{})
	}
	close(hold)
	r.close()
	// Twice the bound: what was queued when the receiver was first called is
	// out of the queue.
	if told := told.Load(); told < maxReports || told > 2*maxReports {
		t.Errorf("told of %d exits, of %d", told, n)
	}
	if warned.Load() == 0 {
		t.Error("not told that reports were dropped")
	}
}

type countWarnings struct{ n *atomic.Int64 }

func (countWarnings) Info(string, ...any)    {}
func (c countWarnings) Warn(string, ...any)  { c.n.Add(1) }
func (c countWarnings) Error(string, ...any) { c.n.Add(1) }

// A Reaper with nothing to do returns, whatever its options.
func TestReapNothing(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := Reaper{Reaped: func(ChildExit) { t.Error("reported") }}
	if err := r.reap(ctx, &inheritance{}, nil); err != nil {
		t.Error(err)
	}
}

func TestInheritance(t *testing.T) {
	h := &inheritance{free: []int{1, 2, 3}}
	if !h.take(2) || h.take(2) || h.take(4) {
		t.Error("take")
	}
	if got := h.list(); !slices.Equal(got, []int{1, 3}) {
		t.Errorf("list = %v", got)
	}
	all := h.takeAll()
	if !slices.Equal(all, []int{1, 3}) || h.takeAll() != nil {
		t.Errorf("takeAll = %v", all)
	}
	h.giveBack(3)
	h.giveBack()
	if got := h.list(); !slices.Equal(got, []int{3}) || !slices.Equal(all, []int{1, 3}) {
		t.Errorf("given back: %v; taken before: %v", got, all)
	}
}
