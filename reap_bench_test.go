//go:build linux && !autorestart_portable

package autorestart

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// These benchmarks need children by the thousand that were there before an exec:
// each measures in the second image of a helper process, once, and prints what it
// found as "name value unit" lines, which become the benchmark's metrics.

const countEnv = "AUTORESTART_TEST_COUNT"

func count() int {
	n, err := strconv.Atoi(os.Getenv(countEnv))
	check(err == nil, err)
	return n
}

// benchmarkScenarios runs the scenarios in turns, with n children each.
func benchmarkScenarios(b *testing.B, n int, names ...string) {
	sums := make(map[string]float64)
	// Thousands of processes are more than enough for one figure: more rounds than
	// these are not worth the minutes that they would take.
	runs := min(b.N, max(1, 5000/n))
	for range runs {
		for _, name := range names {
			out, err := scenarioOutput(b, name, "", countEnv+"="+strconv.Itoa(n))
			if err != nil {
				b.Fatalf("%v\n%s", err, out)
			}
			for line := range strings.Lines(string(out)) {
				var value float64
				var unit string
				if n, _ := fmt.Sscan(line, &value, &unit); n == 2 {
					sums[unit] += value
				}
			}
		}
	}
	b.ReportMetric(0, "ns/op") // starting the children is not what is measured
	for unit, sum := range sums {
		b.ReportMetric(sum/float64(runs), unit)
	}
}

func metric(value float64, unit string) { fmt.Println(value, unit) }

func milliseconds(d time.Duration) float64 { return float64(d) / 1e6 }

func killAll(pids []int) {
	for _, pid := range pids {
		syscall.Kill(pid, syscall.SIGKILL)
	}
}

// startMany starts n children that nobody keeps anything of.
func startMany(n int, path string, args ...string) []int {
	pids := make([]int, n)
	null, err := os.Open(os.DevNull)
	check(err == nil, err)
	defer null.Close()
	argv := append([]string{path}, args...)
	for i := range pids {
		pids[i], err = syscall.ForkExec(path, argv, &syscall.ProcAttr{Files: []uintptr{null.Fd(), null.Fd(), null.Fd()}})
		check(err == nil, "starting", path, err)
	}
	return pids
}

func startSleepers() []int { return startMany(count(), "/bin/sleep", "60") }

// The synchronous part of CleanUpChildZombies, with living children.
var _ = registerScenario("bench clean up", func() { startSleepers() }, func() {
	pids := inheritedChildren.list()
	check(len(pids) == count(), "inherited", len(pids))
	began := time.Now()
	CleanUpChildZombiesQuietly()
	metric(float64(time.Since(began))/1e3, "µs/call")
	began = time.Now()
	h := listInherited()
	metric(float64(time.Since(began))/1e3, "µs/listing")
	check(len(h.free) == count(), "listed", len(h.free))
	killAll(pids)
	began = time.Now()
	eventually("all gone", haveNoChildren)
	metric(milliseconds(time.Since(began)), "ms/all-gone")
})

func BenchmarkCleanUpChildZombies(b *testing.B) {
	for _, n := range []int{1, 100, 5000} {
		b.Run("children="+strconv.Itoa(n), func(b *testing.B) { benchmarkScenarios(b, n, "bench clean up") })
	}
}

// A thousand zombies behind a child that lives.
var _ = registerScenario("bench behind a living child", func() {
	startMany(1, "/bin/sleep", "60")
	zombies := startMany(count(), "/bin/true")
	eventually("zombies", func() bool { return peekChild(zombies[len(zombies)-1]) == waitExited })
}, func() {
	pids := inheritedChildren.list()
	check(len(pids) == count()+1, "inherited", len(pids))
	began := time.Now()
	CleanUpChildZombiesQuietly()
	eventually("zombies gone", func() bool { return peekZombie() == 0 })
	metric(milliseconds(time.Since(began)), "ms/all-gone")
	check(!haveNoChildren(), "the living child is gone")
	killAll(pids)
})

func BenchmarkBehindLivingChild(b *testing.B) {
	benchmarkScenarios(b, 1000, "bench behind a living child")
}

// Zombies: a bare wait4 loop for the first half, the Reaper for the other.
var _ = registerScenario("bench zombies", func() {
	for _, pid := range startMany(2*count(), "/bin/true") {
		eventually("zombies", func() bool { return peekChild(pid) == waitExited })
	}
}, func() {
	// On a busy machine, time passes in which nothing is done; of CPU time that
	// can't be said.
	began, cpu := time.Now(), ownCPUTime()
	for range count() {
		var status syscall.WaitStatus
		_, err := syscall.Wait4(-1, &status, 0, nil)
		check(err == nil, err)
	}
	bare, bareCPU := time.Since(began), ownCPUTime()-cpu
	inheritedChildren.all = inheritedChildren.takeAll()[count():] // as if there had been no others
	inheritedChildren.giveBack(inheritedChildren.all...)
	check(startTick() > inheritedChildren.imageStart(), "not late") // or it would be faster
	began, cpu = time.Now(), ownCPUTime()
	check(new(Reaper).Run(context.Background()) == nil, "Run")
	ours, oursCPU := time.Since(began), ownCPUTime()-cpu
	metric(milliseconds(bare), "ms/wait4-loop")
	metric(milliseconds(ours), "ms/reaper")
	metric(float64(ours)/float64(bare), "ratio")
	metric(float64(oursCPU)/float64(bareCPU), "cpu-ratio")
	check(haveNoChildren(), "children are left")
})

func BenchmarkZombies(b *testing.B) { benchmarkScenarios(b, 10000, "bench zombies") }

// Living children: what they cost while they live, and how soon the last of
// them is gone once they are killed one after the other.
var _ = registerScenario("bench living", func() { startSleepers() }, func() {
	warmUp()
	pids := inheritedChildren.list()
	check(len(pids) == count(), "inherited", len(pids))
	memory, threads := memoryInUse(), countThreads() // the collector starts threads, too
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	exits := make(chan Exit, len(pids))
	r := Reaper{Escalation: []Step{}, Reaped: func(e Exit) { exits <- e }}
	go func() { done <- r.Run(ctx) }()
	eventually("the Reaper waits", func() bool { return inheritedChildren.isEmpty() && isIdle() })
	metric(float64(memoryInUse()-memory)/float64(len(pids)), "B/child")
	metric(float64(countThreads()-threads), "threads")

	// Kill some, wait until they are gone, and so on: the longest that a zombie
	// has to wait.
	const some = 10
	var longest time.Duration
	for len(pids) > 2000 {
		killAll(pids[:some])
		for _, pid := range pids[:some] {
			for peekChild(pid) == waitRunning {
				time.Sleep(50 * time.Microsecond) // not to be in the Reaper's way
			}
			dead := time.Now()
			for !gone(pid) {
				time.Sleep(50 * time.Microsecond)
			}
			longest = max(longest, time.Since(dead))
		}
		pids = pids[some:]
	}
	metric(milliseconds(longest), "ms/zombie-max")
	// All the others at once.
	began := time.Now()
	killAll(pids)
	killed := time.Since(began)
	check(<-done == nil, "Run")
	metric(milliseconds(time.Since(began)-killed), "ms/after-last-kill")
	cancel()
})

func (h *inheritance) isEmpty() bool { return len(h.list()) == 0 }

func countThreads() int {
	tasks, err := readNumbered("/proc/self/task")
	check(err == nil, err)
	return len(tasks)
}

// memoryInUse is what the kernel says this process occupies.
func memoryInUse() int {
	runtime.GC()
	b, err := os.ReadFile("/proc/self/statm")
	check(err == nil, err)
	var size, resident int
	fmt.Sscan(string(b), &size, &resident)
	return resident * os.Getpagesize()
}

// isIdle reports whether this process has used no CPU time for a while.
func isIdle() bool {
	before := ownCPUTime()
	time.Sleep(50 * time.Millisecond)
	return ownCPUTime()-before < 5*time.Millisecond
}

func ownCPUTime() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func BenchmarkLiving(b *testing.B) { benchmarkScenarios(b, 10000, "bench living") }

// What the listing adds to the start of a program that has no children.
func BenchmarkListInherited(b *testing.B) {
	if !haveNoChildren() {
		b.Skip("this process has children")
	}
	for b.Loop() {
		listInherited()
	}
}

// exec.Command from eight goroutines, beside Orphans and without it in turns, and
// with so many sockets open that a look at every descriptor would show.

const socketsEnv = "AUTORESTART_TEST_SOCKETS"

var _ = registerScenario("bench exec", func() {}, func() {
	sockets, _ := strconv.Atoi(os.Getenv(socketsEnv))
	for range sockets / 2 {
		_, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		check(err == nil, "socketpair:", err)
	}
	const turns = 20
	var with, without time.Duration
	var errs atomic.Int64
	for turn := range 2 * turns {
		if turn%4 == 0 || turn%4 == 3 { // neither is always the first
			without += runTrue(count()/turns, &errs)
			continue
		}
		end := startOrphans(&Orphans{Subreaper: true})
		with += runTrue(count()/turns, &errs)
		end()
	}
	metric(float64(count())/without.Seconds(), "runs/s-without")
	metric(float64(count())/with.Seconds(), "runs/s-with")
	metric(float64(without)/float64(with), "ratio")
	metric(float64(errs.Load()), "errors")

	// How long it takes to be rid of the last of many orphans.
	const orphans = 200
	end := startOrphans(&Orphans{Subreaper: true})
	defer end()
	for range orphans {
		check(exec.Command("/bin/sh", "-c", "/bin/true &").Run() == nil, "sh")
	}
	began := time.Now()
	eventually("all orphans are reaped", haveNoChildren)
	metric(milliseconds(time.Since(began)), "ms/last-orphans")
	began = time.Now()
	pidfdsHeld(nil)
	metric(milliseconds(time.Since(began)), "ms/look-at-descriptors")
})

// runTrue runs n children from eight goroutines and returns how long that took.
func runTrue(n int, errs *atomic.Int64) time.Duration {
	var wg sync.WaitGroup
	began := time.Now()
	for range 8 {
		wg.Go(func() {
			for range n / 8 {
				cmd := exec.Command("/bin/true")
				if cmd.Run() != nil || cmd.ProcessState.ExitCode() != 0 {
					errs.Add(1)
				}
			}
		})
	}
	wg.Wait()
	return time.Since(began)
}

// With AUTORESTART_TEST_FULL=1, a hundred thousand runs each.
func BenchmarkExecBesideOrphans(b *testing.B) {
	n := 4000
	if os.Getenv("AUTORESTART_TEST_FULL") != "" {
		n = 100_000
	}
	for _, sockets := range []string{"0", "10000"} {
		b.Run("sockets="+sockets, func(b *testing.B) {
			b.Setenv(socketsEnv, sockets)
			benchmarkScenarios(b, n, "bench exec")
		})
	}
}
