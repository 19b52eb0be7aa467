//go:build !autorestart_portable

package autorestart

import (
	"syscall"
	"testing"
)

// TestIgnoreSignals: signals are ignored for the time of the exec, but the exits of
// children are not thrown away.
func TestIgnoreSignals(t *testing.T) {
	handler := func(sig syscall.Signal) uintptr {
		var action sigaction
		if err := rtSigaction(int(sig), nil, &action); err != nil {
			t.Fatal(err)
		}
		return *action.handler()
	}
	usr1, chld := handler(syscall.SIGUSR1), handler(syscall.SIGCHLD)
	restore := ignoreSignals([]int{int(syscall.SIGCHLD), int(syscall.SIGUSR1)})
	during := [...]uintptr{handler(syscall.SIGUSR1), handler(syscall.SIGCHLD)}
	restore()
	if during != [...]uintptr{sigIgnore, chld} {
		t.Errorf("during the exec SIGUSR1 has %#x, SIGCHLD %#x", during[0], during[1])
	}
	if handler(syscall.SIGUSR1) != usr1 || handler(syscall.SIGCHLD) != chld {
		t.Error("the handlers are not restored")
	}
}
