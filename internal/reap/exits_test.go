package reap

import "testing"

func TestPidfdRoom(t *testing.T) {
	for _, tt := range []struct {
		limit      uint64
		count, end int
	}{
		{0, 0, 0},
		{256, 128, 192},
		{1024, 512, 768},
		{1 << 20, 1 << 19, 3 << 18},
		{1<<64 - 1, 1 << 29, 3 << 28}, // RLIM_INFINITY
	} {
		if count, end := pidfdRoom(tt.limit); count != tt.count || end != tt.end {
			t.Errorf("pidfdRoom(%d) = %d, %d; want %d, %d", tt.limit, count, end, tt.count, tt.end)
		}
	}
}
