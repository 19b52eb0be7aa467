package reap

import "testing"

func TestProbeLimit(t *testing.T) {
	for _, tt := range []struct{ self, latest, want int }{
		{100, 200, smallPIDMax},
		{30000, 200, smallPIDMax}, // begun again, below the usual pid_max
		{100, 50000, 50001},       // a large pid_max
		{40000, 50000, 50001},     //
		{50000, 200, largePIDMax}, // a large pid_max, begun again
		{40000, 40001, 40002},     //
		{1, 3, smallPIDMax},       // process 1 of a namespace
	} {
		if got := probeLimit(tt.self, tt.latest); got != tt.want {
			t.Errorf("probeLimit(%d, %d) = %d, want %d", tt.self, tt.latest, got, tt.want)
		}
	}
}

func TestStartedAfter(t *testing.T) {
	for _, tt := range []struct {
		name   string
		thread int
		pid    int
		start  uint64
		want   bool
	}{
		{"a tick before", 100, 101, 999, false},
		{"a tick after", 100, 99, 1001, true},
		{"in the same tick, before", 100, 99, 1000, false},
		{"in the same tick, after", 100, 101, 1000, true},
		{"in the same tick, before, and PIDs have begun again", 300, 32760, 1000, false},
		{"in the same tick, after, and PIDs have begun again", 32760, 300, 1000, true},
		{"the same of many PIDs, before", 300, 4194300, 1000, false},
		{"the same of many PIDs, after", 4194300, 300, 1000, true},
	} {
		if got := startedAfter(tt.thread, 1000, tt.pid, tt.start); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}
