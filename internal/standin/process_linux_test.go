//go:build !autorestart_portable

package standin

import (
	"testing"

	"golang.org/x/sys/unix"
)

// withoutRoom calls f while no descriptor can be opened.
func withoutRoom(t *testing.T, f func()) {
	t.Helper()
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	none := limit
	none.Cur = 3
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	f()
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
}

// A table of descriptors that is full at the moment says nothing about the system.
func TestSupported(t *testing.T) {
	if err := Supported(); err != nil {
		t.Skip(err)
	}
	var err error
	withoutRoom(t, func() { err = Supported() })
	if err != nil {
		t.Errorf("without descriptors: %v", err)
	}
}
