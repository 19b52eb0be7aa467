//go:build !autorestart_portable

package systemd

import "testing"

// The next start needs room for what systemd passes, below the soft limit of descriptors.
func TestLimitOfStore(t *testing.T) {
	for _, test := range []struct {
		stores    string
		openFiles uint64
		want      int
	}{
		{"", 1024, 0},
		{"0", 1024, 0},
		{"-1", 1024, 0},
		{"many", 1024, 0},
		{"20", 1024, 20},
		{"4096", 1024, 1024 - spareDescriptors},
		{"4096", spareDescriptors, 0},
		{"4096", spareDescriptors + 1, 1},
		{"4096", 0, 0}, // it can't be told
		{"99999999999999999999", 1024, 0},
	} {
		if got := lowerLimit(test.stores, test.openFiles); got != test.want {
			t.Errorf("FDSTORE=%q, %d open files: %d, expected %d", test.stores, test.openFiles, got, test.want)
		}
	}
}
