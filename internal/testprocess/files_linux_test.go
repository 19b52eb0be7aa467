package testprocess

import (
	"os"
	"os/exec"
	"runtime"
	"testing"
)

// start-threads starts one thread after the other, from whichever thread it is on.
var _ = RegisterHelper("start-threads", func() {
	for {
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			runtime.LockOSThread() // a thread ends with the goroutine that is locked to it
		}()
		<-ended
	}
})

// A thread that starts another blocks all signals for a moment, which is nothing that it keeps.
func TestStatusBetweenStartsOfThreads(t *testing.T) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), UseHelper(t, "start-threads"))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	const none = "0000000000000000"
	for i := range 3000 {
		if blocked := Status(t, cmd.Process.Pid)["SigBlk"]; blocked != none {
			t.Fatalf("look %d: it blocks %s", i, blocked)
		}
	}
}
