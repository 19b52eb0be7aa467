package testclock_test

import (
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/autorestart-go/autorestart/internal/testclock"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

func TestMain(m *testing.M) { testprocess.Main(m) }

// compute uses a CPU for a while, and returns for how long.
func compute() time.Duration {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	start := threadTime()
	for threadTime()-start < 200*time.Millisecond {
	}
	return threadTime() - start
}

func threadTime() time.Duration {
	const clockThreadCPUTime = 3 // CLOCK_THREAD_CPUTIME_ID
	var ts syscall.Timespec
	syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, clockThreadCPUTime, uintptr(unsafe.Pointer(&ts)), 0)
	return time.Duration(ts.Nano())
}

var _ = testprocess.RegisterHelper("compute", func() { compute() })

// computeInChild is compute in another process.
func computeInChild(t *testing.T) time.Duration {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), testprocess.UseHelper(t, "compute"))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	if err, _ := testprocess.Receive(t, "end of the child", ended); err != nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
}

// occupy makes the machine busy with processes that are no descendants of this one.
func occupy(t *testing.T) {
	t.Helper()
	testprocess.NeedTool(t, "sh")
	done, stop, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop.Close() })
	for range 4 * runtime.NumCPU() {
		// Each ends a second after it can read the end of the pipe, at the latest.
		cmd := exec.Command("sh", "-c", `(sh -c 'sh -c "while :; do :; done" <&- & read end; kill $!' <&3 &)`)
		cmd.ExtraFiles = []*os.File{done}
		if err := cmd.Run(); err != nil {
			t.Fatal(err)
		}
	}
	done.Close()
}

// A stopwatch tells how long something takes, whatever other processes do: computing takes about
// as long as it uses a CPU.
func TestStopwatch(t *testing.T) {
	if content, _ := os.ReadFile("/proc/thread-self/schedstat"); len(content) == 0 {
		t.Skip("the kernel does not tell how long threads wait")
	}
	check := func(t *testing.T, compute func() time.Duration) {
		start, watch := time.Now(), testclock.StartStopwatch()
		used := compute()
		took, elapsed := time.Since(start), watch.Elapsed()
		t.Logf("%v of computing took %v, of that %v unhindered", used, took, elapsed)
		// A process is started, too, and what a thread waited last is not known if it ends soon.
		const margin = 300 * time.Millisecond
		if elapsed < min(used/3, took/25) || elapsed > used+margin+(took-used)*2/3 {
			t.Fail()
		}
	}
	both := func(t *testing.T) {
		check(t, compute)
		check(t, func() time.Duration { return computeInChild(t) })
	}
	t.Run("as it is", both)
	t.Run("beside busy processes", func(t *testing.T) {
		occupy(t)
		both(t)
	})
}

// The clock does not go back where the process is suddenly held up.
func TestClockIsMonotonic(t *testing.T) {
	occupy(t)
	last := testclock.Now()
	testclock.Presume(1, 300*time.Millisecond) // as if nothing had held it up until now
	for start := time.Now(); time.Since(start) < time.Second; {
		reading := testclock.Now()
		if reading < last {
			t.Fatalf("the clock went from %v to %v", last, reading)
		}
		last = reading
	}
}

// Once a limit is taken away, the clock is not looked at for it: that opens files, and a later test may
// count its descriptors.
func TestNoLookAtTheClockAfterStop(t *testing.T) {
	_, stop := testclock.WithTimeoutLooking(t.Context(), time.Hour, time.Millisecond)
	stop()
	before := testclock.LastLook()
	time.Sleep(50 * time.Millisecond) // the next look was due after one
	if last := testclock.LastLook(); last != before {
		t.Errorf("the clock was looked at %v after the end", last.Sub(before))
	}
}
