//go:build !autorestart_portable

package handover

import "testing"

// TestSecure: a vector that is missing, or has no such entry, tells nothing.
func TestSecure(t *testing.T) {
	for _, test := range []struct {
		auxv []uintptr
		want bool
	}{
		{nil, true},
		{[]uintptr{6, 4096, 0, 0}, true},
		{[]uintptr{23}, true},
		{[]uintptr{6, 23, 23, 0, 0, 0}, false},
		{[]uintptr{6, 4096, 23, 1, 0, 0}, true},
	} {
		if got := secure(test.auxv); got != test.want {
			t.Errorf("%v: %t, want %t", test.auxv, got, test.want)
		}
	}
	if Secure != Elevated() {
		t.Error("a test is no secure program")
	}
	if v := kernelAuxv(); v != nil && secure(v) != secure(getAuxv()) {
		t.Errorf("kernel: %v, runtime: %v", v, getAuxv())
	}
}
