//go:build !autorestart_portable

package standin

import (
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"

	"github.com/autorestart-go/autorestart/internal/execve"
	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// start starts a program as a stand-in of the set.
func start(t *testing.T, s *Set, path string, args []string, env ...string) *StandIn {
	t.Helper()
	h := new(handover.State)
	h.Set(handover.PID, os.Getpid())
	h.Set(handover.Generation, 1)
	x, err := s.Start(handover.Target{Path: path}, append([]string{path}, args...), append(os.Environ(), env...), h)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(x.Kill)
	return x
}

// A program that hangs as soon as it is executed holds up no exec: this process may have to be
// rolled back.
func TestHangingStandInHoldsUpNoExec(t *testing.T) {
	testprocess.NeedTool(t, "sleep")
	path, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	start(t, Inherit(newImage()), path, []string{"1000"})
	done := make(chan error, 1)
	go func() { done <- execve.AsLeader(func() error { return nil }) }()
	testprocess.Receive(t, "thread for an exec", done)
}

// A signal may come at any moment of the start. The greeting is the first message all the same: a
// stand-in that gets another one starts normally.
func TestSignalDuringStart(t *testing.T) {
	s := Inherit(newImage())
	done := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-done:
				return
			default:
				s.Forward(syscall.SIGHUP)
				runtime.Gosched()
			}
		}
	}()
	for range 3 {
		x := start(t, s, "/proc/self/exe", nil, testprocess.UseHelper(t, "is-stand-in"))
		testprocess.Receive(t, "end of the stand-in", x.Ended())
		if err := x.Err(); err.Error() != "it has exited with status 0" {
			t.Error(err)
		}
	}
	close(done)
	<-ended
}

var _ = testprocess.RegisterHelper("is-stand-in", func() {
	if !handover.Inherited.IsStandIn {
		os.Exit(3)
	}
})
