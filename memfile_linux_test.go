//go:build !autorestart_portable

package autorestart

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

func init() {
	// Of a kernel without memfd_create, or a container that may not call it. It is
	// this thread alone, and what it executes.
	daemonCommands["restart-without-memfd"] = func(string) string {
		runtime.LockOSThread()
		if err := seccompFilter(denial{nr: unix.SYS_MEMFD_CREATE, arg: -1, errno: unix.ENOSYS}); err != nil {
			return err.Error()
		}
		return fmt.Sprint(new(Restarter).Restart(context.Background()))
	}
}

func TestStateWithoutMemfd(t *testing.T) {
	d := newDaemon(t)
	empty := t.TempDir()
	d.setenv("TMPDIR=" + empty)
	d.start()
	d.answers("set-state counter 1", "")
	d.answers("set-big-state big 5000000", "<nil>")
	d.answers("pass pipe one", "<nil>")
	d.tell("restart-without-memfd")
	d.wantRestart(1)
	d.answers("get-state counter", "1, true")
	d.answers("get-state big", "5000000 bytes")
	d.answers("inherit pipe", "one, <nil>")
	if left, err := os.ReadDir(empty); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}
