//go:build !autorestart_portable

package handover

import (
	"syscall"
	"testing"
	"time"
)

// onProbation puts this process on probation, until the end of the test.
func onProbation(t *testing.T, h Handover) {
	h.startProbation()
	t.Cleanup(func() {
		probation.mu.Lock()
		probation.on = false
		probation.mu.Unlock()
		probation.timer.Stop()
	})
}

// TestWayBackCanNotBeKept: a version is not executed without the probation that it
// should be on.
func TestWayBackCanNotBeKept(t *testing.T) {
	const none = 1 << 20
	onProbation(t, of(map[int][]int{PID: {1}, ReadyWithin: {1 << 30}, Previous: {none}, Dir: {none}}, nil))
	var h Handover
	if err := h.KeepWayBack(); err != syscall.EBADF {
		t.Error(err)
	}
}

// TestReturnIsTriedAgain: what keeps the version before from coming back may pass.
func TestReturnIsTriedAgain(t *testing.T) {
	attempts := make(chan bool, 100)
	before := Back
	t.Cleanup(func() { Back = before })
	Back = func(string, []string, []string, *Handover) error {
		attempts <- true
		return syscall.ETXTBSY
	}
	onProbation(t, of(map[int][]int{PID: {1}, ReadyWithin: {1}, Previous: {1 << 20}}, nil))
	for range 2 {
		select {
		case <-attempts:
		case <-time.After(20 * time.Second):
			t.Fatal("the version before stays away")
		}
	}
}
