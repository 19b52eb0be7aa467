//go:build !autorestart_portable

package handover

import "testing"

func TestParseFileCapabilities(t *testing.T) {
	// setcap cap_net_bind_service=ep, and cap_net_raw=i beside it with cap_checkpoint_restore=p.
	for _, test := range []struct {
		value                  string
		permitted, inheritable uint64
		ok                     bool
	}{
		{"\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", 1 << 10, 0, true},
		{"\x00\x00\x00\x03\x00\x04\x00\x00\x00\x20\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\xe8\x03\x00\x00", 1<<10 | 1<<40, 1 << 13, true},
		{"\x01\x00\x00\x01\x00\x04\x00\x00\x00\x00\x00\x00", 0, 0, false},
		{"", 0, 0, false},
	} {
		permitted, inheritable, ok := parseFileCapabilities([]byte(test.value))
		if permitted != test.permitted || inheritable != test.inheritable || ok != test.ok {
			t.Errorf("%x: %x, %x, %t", test.value, permitted, inheritable, ok)
		}
	}
}

func FuzzParseFileCapabilities(f *testing.F) {
	f.Add([]byte("\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if permitted, inheritable, ok := parseFileCapabilities(b); !ok && permitted|inheritable != 0 {
			t.Errorf("%x: %x, %x", b, permitted, inheritable)
		}
	})
}
