//go:build !autorestart_portable

package autorestart

import (
	"testing"

	"golang.org/x/sys/unix"
)

func TestMemoryFileIsSealed(t *testing.T) {
	fd, err := newMemoryFile([]byte("state"))
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if n, err := unix.Pwrite(fd, []byte("S"), 0); err != unix.EPERM {
		t.Errorf("wrote %d bytes, %v", n, err)
	}
	if err := unix.Ftruncate(fd, 1); err != unix.EPERM {
		t.Errorf("cut: %v", err)
	}
	if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("flags %#x, %v: children have it", flags, err)
	}
	if b, err := readMemoryFile(fd); err != nil || string(b) != "state" {
		t.Errorf("read %q, %v", b, err)
	}
}
