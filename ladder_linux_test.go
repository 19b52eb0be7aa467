//go:build !autorestart_portable

package autorestart

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

func TestPidfdRoom(t *testing.T) {
	for _, tt := range []struct {
		limit        uint64
		count, below int
	}{
		{0, 0, 0},
		{256, 128, 192},
		{1024, 512, 768},
		{1 << 20, 1 << 19, 3 << 18},
		{1<<64 - 1, 1 << 29, 3 << 28}, // RLIM_INFINITY
	} {
		if count, below := pidfdRoom(tt.limit); count != tt.count || below != tt.below {
			t.Errorf("pidfdRoom(%d) = %d, %d; want %d, %d", tt.limit, count, below, tt.count, tt.below)
		}
	}
}
