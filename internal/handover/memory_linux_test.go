//go:build !autorestart_portable

package handover

import (
	"testing"

	"golang.org/x/sys/unix"
)

func TestMemoryFileIsSealed(t *testing.T) {
	fd, err := MemoryFile([]byte("state"))
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if n, err := unix.Pwrite(fd, []byte("S"), 0); err != unix.EPERM {
		t.Errorf("wrote %d bytes, %v", n, err)
	}
	if err := unix.Ftruncate(fd, 1); err != unix.EPERM {
		t.Errorf("truncated: %v", err)
	}
}
