package testprocess

import (
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
)

// start-threads starts one thread after the other, until standard input ends.
var _ = RegisterHelper("start-threads", func() {
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	for {
		var ended atomic.Bool
		go func() {
			defer ended.Store(true)
			runtime.LockOSThread() // a thread ends with the goroutine that is locked to it
			if syscall.Gettid() == os.Getpid() {
				runtime.UnlockOSThread() // the main thread is the one that is looked at
			}
		}()
		for !ended.Load() { // on this thread, so that the goroutine needs another one
		}
	}
})

// A thread that starts another blocks all signals for a moment, which is nothing that it keeps.
func TestStatusBetweenStartsOfThreads(t *testing.T) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), UseHelper(t, "start-threads"))
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer stdin.Close()
	const none = "0000000000000000"
	for i := range 3000 {
		if blocked := Status(t, cmd.Process.Pid)["SigBlk"]; blocked != none {
			t.Fatalf("look %d: it blocks %s", i, blocked)
		}
	}
}
