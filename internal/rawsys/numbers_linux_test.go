//go:build !autorestart_portable

package rawsys

import (
	"testing"

	"golang.org/x/sys/unix"
)

func TestNumbers(t *testing.T) {
	want := CallNumbers{
		unix.SYS_SETNS, unix.SYS_KCMP, unix.SYS_SCHED_SETATTR, unix.SYS_SCHED_GETATTR, unix.SYS_MEMFD_CREATE, unix.SYS_CLOSE_RANGE, unix.SYS_PIDFD_OPEN,
	}
	if Numbers != want {
		t.Errorf("%v, want %v", Numbers, want)
	}
}
