//go:build !autorestart_portable

package handover

import (
	"syscall"
	"testing"
	"time"
)

// putOnTrial puts this process on trial, until the end of the test.
func putOnTrial(t *testing.T, s State) {
	s.startTrial()
	t.Cleanup(func() {
		trial.mu.Lock()
		trial.on = false
		trial.mu.Unlock()
		trial.timer.Stop()
	})
}

// TestRollbackCannotBeKept: a version is not executed without the trial that it
// should be on.
func TestRollbackCannotBeKept(t *testing.T) {
	const none = 1 << 20
	putOnTrial(t, of(map[NumberKind][]int{PID: {1}, ReadyWithin: {1 << 30}, Previous: {none}, Dir: {none}}, nil))
	var s State
	if _, err := s.KeepRollback(); err != syscall.EBADF {
		t.Error(err)
	}
}

// TestRollbackIsTriedAgain: what keeps the previous version from being executed may
// pass.
func TestRollbackIsTriedAgain(t *testing.T) {
	attempts := make(chan bool, 100)
	t.Cleanup(func() { OnRollback(nil) })
	OnRollback(func(Target, []string, []string, *State) error {
		attempts <- true
		return syscall.ETXTBSY
	})
	putOnTrial(t, of(map[NumberKind][]int{PID: {1}, ReadyWithin: {1}, Previous: {1 << 20}}, nil))
	for range 2 {
		select {
		case <-attempts:
		case <-time.After(20 * time.Second):
			t.Fatal("the previous version was not executed")
		}
	}
}
