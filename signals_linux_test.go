//go:build !autorestart_portable

package autorestart

import (
	"syscall"
	"testing"
)

// TestIgnoreForExec: what comes of children is not thrown away.
func TestIgnoreForExec(t *testing.T) {
	handler := func(sig syscall.Signal) uintptr {
		var action sigaction
		if err := rtSigaction(int(sig), nil, &action); err != nil {
			t.Fatal(err)
		}
		return *action.handler()
	}
	usr1, chld := handler(syscall.SIGUSR1), handler(syscall.SIGCHLD)
	undo := ignoreForExec([]int{int(syscall.SIGCHLD), int(syscall.SIGUSR1)})
	during := [...]uintptr{handler(syscall.SIGUSR1), handler(syscall.SIGCHLD)}
	undo()
	if during != [...]uintptr{sigIgnore, chld} {
		t.Errorf("during the exec SIGUSR1 has %#x, SIGCHLD %#x", during[0], during[1])
	}
	if handler(syscall.SIGUSR1) != usr1 || handler(syscall.SIGCHLD) != chld {
		t.Error("what was before is not put back")
	}
}
