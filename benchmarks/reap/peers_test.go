//go:build linux

// Package reap compares the reaper with other libraries that reap. Each is measured
// in a process of its own, right after the exec of an image that has left children
// behind. From the folder benchmarks:
//
//	go test -bench . -benchtime 1x ./reap
package reap

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
	"unsafe"

	"github.com/autorestart-go/autorestart"
	"github.com/hashicorp/go-reap"
	"github.com/ramr/go-reaper"
	tillberg "github.com/tillberg/autorestart"
)

type peer struct {
	name      string
	start     func()
	onSIGCHLD bool // it reaps nothing before a first SIGCHLD, so the benchmark sends one
	inherited bool // it reaps inherited children only
}

// peers are the libraries. They run on in the background after start has returned.
var peers = []peer{
	{"none", func() {}, false, false},
	{"autorestart", func() {
		go (&autorestart.Orphans{Subreaper: true}).Run(context.Background())
		autorestart.CleanUpChildZombiesQuietly()
	}, false, false},
	{"tillberg", tillberg.CleanUpChildZombiesQuietly, false, true},
	{"go-reap", func() { go reap.ReapChildren(nil, nil, make(chan struct{}), nil) }, true, false},
	{"go-reaper", func() { go reaper.Start(reaper.Config{Pid: -1, DisablePid1Check: true}) }, true, false},
}

const (
	zombies = 1000  // behind a child that lives
	alone   = 10000 // zombies, and no other children
	living  = 10000
	runs    = 4000
)

// reapCase leaves children in the first image, and measures in the second.
type reapCase struct {
	before func()
	after  func(start func() time.Time)
}

var cases = map[string]reapCase{
	// Zombies behind a child that lives.
	"behind": {
		func() {
			fork(1, "/bin/sleep", "60")
			fork(zombies, "/bin/true")
			wait("zombies", func() bool { return count('Z') == zombies })
		},
		waitForZombies,
	},
	"alone": {
		func() {
			fork(alone, "/bin/true")
			wait("zombies", func() bool { return count('Z') == alone })
		},
		waitForZombies,
	},
	// Living children.
	"living": {
		func() { fork(living, "/bin/sleep", "60") },
		func(start func() time.Time) {
			memory := resident() // the collector starts threads, too
			goroutines, threads := runtime.NumGoroutine(), count('T')
			start()
			wait("idleness", idle)
			metric(float64(runtime.NumGoroutine()-goroutines), "goroutines")
			metric(float64(count('T')-threads), "threads")
			metric(float64(resident()-memory)/living, "B/child")
			killChildren()
		},
	},
	// os/exec beside the reaper.
	"exec": {
		func() {},
		func(start func() time.Time) {
			start()
			var wrong atomic.Int64
			var wg sync.WaitGroup
			began := time.Now()
			for range 8 {
				wg.Go(func() {
					for range runs / 8 {
						if exec.Command("/bin/true").Run() != nil {
							wrong.Add(1)
						}
					}
				})
			}
			wg.Wait()
			metric(runs/time.Since(began).Seconds(), "runs/s")
			metric(float64(wrong.Load()), "wrong-statuses")
		},
	},
}

// waitForZombies waits until no zombie is left, for three seconds at most.
func waitForZombies(start func() time.Time) {
	began := start()
	deadline := began.Add(3 * time.Second)
	for anyZombie() && time.Now().Before(deadline) {
		time.Sleep(100 * time.Microsecond)
	}
	metric(microseconds(time.Since(began))/1000, "ms/all-gone")
	metric(float64(count('Z')), "zombies-left")
	killChildren()
}

const caseEnv, peerEnv, imageEnv = "AUTORESTART_BENCH_CASE", "AUTORESTART_BENCH_PEER", "AUTORESTART_BENCH_IMAGE"

func TestMain(m *testing.M) {
	c, ok := cases[os.Getenv(caseEnv)]
	if !ok {
		os.Exit(m.Run())
	}
	if os.Getenv(imageEnv) == "" {
		c.before()
		os.Setenv(imageEnv, "2")
		fatal(syscall.Exec("/proc/self/exe", os.Args, os.Environ()))
	}
	for _, p := range append(peers, bareLoop) {
		if p.name != os.Getenv(peerEnv) {
			continue
		}
		c.after(func() time.Time {
			began := time.Now()
			p.start()
			metric(microseconds(time.Since(began)), "µs/call")
			if p.onSIGCHLD {
				time.Sleep(50 * time.Millisecond) // until it has subscribed, which it does not report
				began = time.Now()
				syscall.Kill(os.Getpid(), syscall.SIGCHLD)
			}
			return began
		})
	}
}

func benchmark(b *testing.B, name string) {
	for _, p := range peers {
		if p.name == "none" && name != "exec" || p.inherited && name == "exec" {
			continue
		}
		b.Run(p.name, func(b *testing.B) {
			sums := make(map[string]float64)
			n := min(b.N, 5)
			for range n {
				cmd := exec.Command(os.Args[0])
				cmd.Env = append(os.Environ(), caseEnv+"="+name, peerEnv+"="+p.name)
				out, err := cmd.Output()
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
			b.ReportMetric(0, "ns/op")
			for unit, sum := range sums {
				b.ReportMetric(sum/float64(n), unit)
			}
		})
	}
}

func BenchmarkZombiesBehindLivingChild(b *testing.B) { benchmark(b, "behind") }
func BenchmarkZombiesAlone(b *testing.B)             { benchmark(b, "alone") }
func BenchmarkLivingChildren(b *testing.B)           { benchmark(b, "living") }
func BenchmarkExecBeside(b *testing.B)               { benchmark(b, "exec") }

func metric(value float64, unit string) { fmt.Println(value, unit) }

func microseconds(d time.Duration) float64 { return float64(d) / 1e3 }

func fatal(args ...any) {
	fmt.Println(args...)
	os.Exit(1)
}

func fork(n int, args ...string) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		fatal(err)
	}
	defer null.Close()
	for range n {
		_, err := syscall.ForkExec(args[0], args, &syscall.ProcAttr{Files: []uintptr{null.Fd(), null.Fd(), null.Fd()}})
		if err != nil {
			fatal(err)
		}
	}
}

// wait waits until a condition, which has a name, holds.
func wait(condition string, ok func() bool) {
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			fatal("timeout waiting for", condition)
		}
	}
}

// anyZombie reports whether a child of this process is a zombie.
func anyZombie() bool {
	var info [128]byte
	const pAll, wnohang, wexited, wnowait = 0, 1, 4, 0x1000000
	_, _, errno := syscall.Syscall6(syscall.SYS_WAITID, pAll, 0, uintptr(unsafe.Pointer(&info)), wexited|wnohang|wnowait, 0, 0)
	return errno == 0 && info != [128]byte{}
}

// count counts the children in a state of /proc/PID/stat, or the threads of this
// process for 'T'.
func count(state byte) int {
	if state == 'T' {
		tasks, _ := os.ReadDir("/proc/self/task")
		return len(tasks)
	}
	n := 0
	for _, pid := range childPIDs() {
		b, err := os.ReadFile("/proc/" + pid + "/stat")
		if i := strings.LastIndexByte(string(b), ')'); err == nil && i > 0 && b[i+2] == state {
			n++
		}
	}
	return n
}

func childPIDs() []string {
	var pids []string
	tasks, _ := os.ReadDir("/proc/self/task")
	for _, task := range tasks {
		b, _ := os.ReadFile("/proc/self/task/" + task.Name() + "/children")
		pids = append(pids, strings.Fields(string(b))...)
	}
	return pids
}

func killChildren() {
	for _, s := range childPIDs() {
		if pid, err := strconv.Atoi(s); err == nil {
			syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

func resident() int {
	runtime.GC()
	b, _ := os.ReadFile("/proc/self/statm")
	var size, pages int
	fmt.Sscan(string(b), &size, &pages)
	return pages * os.Getpagesize()
}

// idle reports whether this process has used no CPU time for a while.
func idle() bool {
	var a, b syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &a)
	time.Sleep(100 * time.Millisecond)
	syscall.Getrusage(syscall.RUSAGE_SELF, &b)
	return b.Utime.Nano()+b.Stime.Nano()-a.Utime.Nano()-a.Stime.Nano() < 5e6
}
