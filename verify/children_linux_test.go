package verify

import (
	"testing"

	"golang.org/x/sys/unix"
)

// wantNoChildren checks that this process has no children, not even zombies.
func wantNoChildren(t *testing.T) {
	t.Helper()
	if pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); err != unix.ECHILD {
		t.Errorf("child %d is left, %v", pid, err)
	}
}
