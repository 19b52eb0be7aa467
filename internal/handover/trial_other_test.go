//go:build unix && (!linux || autorestart_portable)

package handover

import (
	"os"
	"syscall"
	"testing"
)

// A version that can't roll back keeps nothing open for a rollback: the previous executable, which
// may be deleted, would take its room on the disk.
func TestNothingIsKeptForARollback(t *testing.T) {
	s := of(map[NumberKind][]int{ReadyWithin: {1}}, nil)
	for _, kind := range [...]NumberKind{Previous, Dir} {
		f, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		fd, err := syscall.Dup(int(f.Fd()))
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		s.Set(kind, fd)
	}
	new(Trial).Start(&s)
	for _, kind := range [...]NumberKind{Previous, Dir} {
		if err := syscall.Close(s.Number(kind)); err != syscall.EBADF {
			t.Errorf("%s was open: %v", numberKeys[kind], err)
		}
	}
}
