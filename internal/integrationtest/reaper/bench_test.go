//go:build linux && !autorestart_portable

package reaper_test

import (
	"context"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart"
)

// These benchmarks need children by the thousand that were there before an exec:
// each measures in the second image of a helper process, once, and prints what it
// found as "value unit" lines, which become the benchmark's metrics. Before it measures,
// it does not call InheritedChildren: that looks every child up in /proc, and the kernel
// then takes longer to clean up after them.

// countEnv is how many children a scenario starts.
const countEnv = "AUTORESTART_TEST_COUNT"

func count() int {
	n, err := strconv.Atoi(os.Getenv(countEnv))
	check(err == nil, err)
	return n
}

// scenarioValues runs the scenarios in turns, with n children each, and returns
// what they print.
func scenarioValues(b *testing.B, n, rounds int, names ...string) map[string][]float64 {
	b.Helper()
	values := make(map[string][]float64)
	for round := range rounds {
		for i := range names {
			name := names[(round+i)%len(names)] // none is always the first
			out, err := scenarioOutput(b, name, "", countEnv+"="+strconv.Itoa(n))
			if err != nil {
				b.Fatalf("%v\n%s", err, out)
			}
			for line := range strings.Lines(string(out)) {
				var value float64
				var unit string
				if n, _ := fmt.Sscan(line, &value, &unit); n == 2 {
					values[unit] = append(values[unit], value)
				}
				if listing, ok := initialisation(line); ok {
					values["µs/initialisation"] = append(values["µs/initialisation"], listing)
				}
			}
		}
	}
	return values
}

// initialisation returns how long the root package took to be initialised, in
// microseconds, from a line of GODEBUG=inittrace=1. The child snapshot is a part of it.
func initialisation(line string) (µs float64, ok bool) {
	rest, ok := strings.CutPrefix(line, "init github.com/autorestart-go/autorestart @")
	if !ok {
		return 0, false
	}
	var at, took float64
	n, _ := fmt.Sscanf(rest, "%f ms, %f ms clock", &at, &took)
	return took * 1000, n == 2
}

func reportMedians(b *testing.B, values map[string][]float64) map[string]float64 {
	b.ReportMetric(0, "ns/op") // starting the children is not what is measured
	medians := make(map[string]float64)
	for unit, all := range values {
		slices.Sort(all)
		medians[unit] = all[len(all)/2]
		b.ReportMetric(medians[unit], unit)
	}
	return medians
}

func benchmarkScenarios(b *testing.B, n, rounds int, names ...string) map[string]float64 {
	return reportMedians(b, scenarioValues(b, n, rounds, names...))
}

// someRounds is b.N within reason: thousands of processes are more than enough for
// one figure.
func someRounds(b *testing.B, n int) int { return min(b.N, max(1, 5000/n)) }

// atMost fails the benchmark if a figure is above its limit, or was not measured.
func atMost(b *testing.B, medians map[string]float64, unit string, limit float64) {
	b.Helper()
	if value, ok := medians[unit]; !ok || value > limit {
		b.Errorf("%v %s, limit %v", value, unit, limit)
	}
}

func metric(value float64, unit string) { fmt.Println(value, unit) }

func milliseconds(d time.Duration) float64 { return float64(d) / 1e6 }

func killAll(pids []int) {
	for _, pid := range pids {
		syscall.Kill(pid, syscall.SIGKILL)
	}
}

// startMany starts n children and keeps no handle on them.
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

// startSleepers starts children that end after five minutes, or when they are killed.
func startSleepers() []int {
	if program, ok := quickProgram("\xbf\x2c\x01\x00\x00\xb8\x25\x00\x00\x00\x0f\x05" + // alarm(300)
		"\xb8\x22\x00\x00\x00\x0f\x05\xeb\xf7"); ok { // for { pause() }
		defer os.Remove(program)
		return startMany(count(), program)
	}
	return startMany(count(), "/bin/sleep", "300")
}

// startZombies starts children that exit at once, and waits until they have. They
// are no programs from /proc: what looks itself up there takes longer to clean up.
func startZombies(n int) []int {
	program, ok := quickProgram("\x31\xff\xb8\x3c\x00\x00\x00\x0f\x05") // exit(0)
	if ok {
		defer os.Remove(program)
	} else {
		program = "/bin/true"
	}
	pids := startMany(n, program)
	for _, pid := range pids {
		eventually("a zombie", func() bool { return isZombie(pid) })
	}
	return pids
}

// quickProgram makes a program of machine code, for amd64. Without libraries it
// starts in a quarter of the time that /bin/true takes.
func quickProgram(code string) (path string, ok bool) {
	if runtime.GOARCH != "amd64" {
		return "", false
	}
	const address, headers = 0x400000, 64 + 56
	program, err := binary.Append(nil, binary.LittleEndian, elf.Header64{
		Ident: [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:  uint16(elf.ET_EXEC), Machine: uint16(elf.EM_X86_64), Version: uint32(elf.EV_CURRENT),
		Entry: address + headers, Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: 1,
	})
	check(err == nil, err)
	program, err = binary.Append(program, binary.LittleEndian, elf.Prog64{
		Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_X), Vaddr: address,
		Filesz: headers + uint64(len(code)), Memsz: headers + uint64(len(code)), Align: 0x1000,
	})
	check(err == nil, err)
	path = filepath.Join(os.TempDir(), "autorestart-quick-"+strconv.Itoa(os.Getpid()))
	check(os.WriteFile(path, append(program, code...), 0o755) == nil, "writing", path)
	return path, true
}

// The synchronous part of CleanUpChildZombies, with living children.
var _ = registerScenario("bench clean up", func() {
	startSleepers()
	os.Setenv("GODEBUG", "inittrace=1")
}, func() {
	pids := listChildren()
	check(len(pids) == count(), "inherited", len(pids))
	began := time.Now()
	autorestart.CleanUpChildZombiesQuietly()
	metric(float64(time.Since(began))/1e3, "µs/call")
	killAll(pids)
	began = time.Now()
	eventually("all gone", haveNoChildren)
	metric(milliseconds(time.Since(began)), "ms/all-gone")
})

func BenchmarkCleanUpChildZombies(b *testing.B) {
	for _, n := range []int{1, 100, 5000} {
		b.Run("children="+strconv.Itoa(n), func(b *testing.B) {
			medians := benchmarkScenarios(b, n, someRounds(b, n), "bench clean up")
			atMost(b, medians, "µs/call", 10_000)
		})
	}
}

// A thousand zombies behind a child that lives.
var _ = registerScenario("bench behind a living child", func() {
	startMany(1, "/bin/sleep", "60")
	startZombies(count())
}, func() {
	pids := listChildren()
	check(len(pids) == count()+1, "inherited", len(pids))
	began := time.Now()
	autorestart.CleanUpChildZombiesQuietly()
	eventually("zombies gone", haveNoZombies)
	metric(milliseconds(time.Since(began)), "ms/zombies-gone")
	check(!haveNoChildren(), "the living child is gone")
	killAll(pids)
})

// The fastest run counts: other work of the machine can only add to it.
func BenchmarkBehindLivingChild(b *testing.B) {
	values := scenarioValues(b, 1000, max(someRounds(b, 1000), 5), "bench behind a living child")
	figures := reportMedians(b, values)
	figures["ms/zombies-gone"] = slices.Min(values["ms/zombies-gone"])
	atMost(b, figures, "ms/zombies-gone", 50)
}

// Nothing but zombies: a bare wait4 loop, and a Reaper with and without reports. Each
// has a process of its own, because the kernel frees what was waited for somewhat
// later, at the cost of the next.
func registerZombies(name string, reap func(n int)) bool {
	return registerScenario("bench zombies: "+name, func() { startZombies(count()) }, func() {
		check(len(listChildren()) == count(), "inherited", len(listChildren()))
		// Before this, a Reaper would be faster.
		eventually("PIDs may have been reused", ticksAfterStart)
		began, cpu := time.Now(), ownCPUTime()
		reap(count())
		metric(milliseconds(time.Since(began)), "ms/"+name)
		// On a busy machine, time passes in which nothing is done, but no CPU time.
		metric(milliseconds(ownCPUTime()-cpu), "cpu-ms/"+name)
		check(haveNoChildren(), "children are left")
	})
}

var _ = registerZombies("wait4-loop", func(n int) {
	for range n {
		var status syscall.WaitStatus
		_, err := syscall.Wait4(-1, &status, 0, nil)
		check(err == nil, err)
	}
})

var _ = registerZombies("reaper", func(int) {
	check(new(autorestart.Reaper).Run(context.Background()) == nil, "Run")
})

var _ = registerZombies("reports", func(n int) {
	told := 0
	r := autorestart.Reaper{Reaped: func(e autorestart.ChildExit) { told++ }}
	check(r.Run(context.Background()) == nil, "Run")
	check(told == n, "told of", told)
})

// The fastest runs are compared: other work of the machine, and work that the kernel
// has put off, can only add to them.
func BenchmarkZombies(b *testing.B) {
	const limit = 1.5
	var values map[string][]float64
	ratio := func(unit string) float64 {
		return slices.Min(values[unit+"/reaper"]) / slices.Min(values[unit+"/wait4-loop"])
	}
	for range 3 { // a machine can be busy for longer than one of these takes
		values = scenarioValues(b, 10000, max(9, min(b.N, 20)),
			"bench zombies: wait4-loop", "bench zombies: reaper", "bench zombies: reports")
		if ratio("cpu-ms") <= limit {
			break
		}
	}
	figures := reportMedians(b, values)
	figures["ratio"], figures["cpu-ratio"] = ratio("ms"), ratio("cpu-ms")
	b.ReportMetric(figures["ratio"], "ratio")
	b.ReportMetric(figures["cpu-ratio"], "cpu-ratio")
	atMost(b, figures, "cpu-ratio", limit)
}

// Living children: what they cost while they live, and how soon the last of
// them is gone once they are killed one after the other.
var _ = registerScenario("bench living", func() { startSleepers() }, func() {
	warmUp()
	pids := listChildren()
	check(len(pids) == count(), "inherited", len(pids))
	memory, threads := memoryInUse(), countThreads() // the collector starts threads, too
	descriptors := countDescriptors()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	r := autorestart.Reaper{Escalation: []autorestart.EscalationStep{}}
	go func() { done <- r.Run(ctx) }()
	eventually("the Reaper waits", func() bool { return countDescriptors() > descriptors+100 && isIdle() })
	metric(float64(memoryInUse()-memory)/float64(len(pids)), "B/child")
	metric(float64(countThreads()-threads), "threads")

	// Kill some, wait until they are gone, and so on: the longest that a zombie
	// has to wait. Then all the others at once.
	var longest time.Duration
	for ; len(pids) > count()-2000; pids = pids[10:] {
		killAll(pids[:10])
		longest = max(longest, longestZombie(pids[:10]))
	}
	metric(milliseconds(longest), "ms/zombie-max")
	killAll(pids)
	metric(milliseconds(longestZombie(pids)), "ms/zombie-max-of-8000-at-once")
	check(<-done == nil, "Run")
	cancel()
})

// longestZombie waits until all of the processes are gone, and returns for how long
// one of them was seen as a zombie, to the nearest look.
func longestZombie(pids []int) (longest time.Duration) {
	dead := make(map[int]time.Time)
	for pids = slices.Clone(pids); len(pids) > 0; time.Sleep(50 * time.Microsecond) { // not to be in the Reaper's way
		pids = slices.DeleteFunc(pids, func(pid int) bool {
			zombie, err := peek(unix.P_PID, pid)
			now := time.Now()
			since, seen := dead[pid]
			switch {
			case zombie == pid && !seen:
				dead[pid] = now
			case seen:
				longest = max(longest, now.Sub(since))
			}
			return err != nil
		})
	}
	return longest
}

func countThreads() int {
	tasks, err := os.ReadDir("/proc/self/task")
	check(err == nil, err)
	return len(tasks)
}

// memoryInUse is what the kernel says this process occupies.
func memoryInUse() int {
	debug.FreeOSMemory()
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

func BenchmarkLiving(b *testing.B) {
	values := scenarioValues(b, 10000, max(3, someRounds(b, 10000)), "bench living")
	figures := reportMedians(b, values)
	atMost(b, figures, "threads", 2)
	atMost(b, figures, "B/child", 2047)
	figures["ms/zombie-max"] = slices.Min(values["ms/zombie-max"]) // other work of the machine can only add to it
	atMost(b, figures, "ms/zombie-max", 100)
	// Here they and the Reaper also wait for a CPU, with all that the machine does: it
	// counts in a long run, on a machine that does nothing else.
	if b.N >= 20 {
		figures["ms/zombie-max-of-8000-at-once"] = slices.Min(values["ms/zombie-max-of-8000-at-once"])
		atMost(b, figures, "ms/zombie-max-of-8000-at-once", 100)
	}
}

// exec.Command from eight goroutines, beside Orphans and without it in turns, and
// with so many sockets open that a look at every descriptor would show.

// socketsEnv is how many sockets a process has open.
const socketsEnv = "AUTORESTART_TEST_SOCKETS"

var _ = registerScenario("bench exec", func() {}, func() {
	openSockets()
	const turns = 50
	var with, without []time.Duration
	var errs atomic.Int64
	for turn := range 2 * turns {
		if turn%4 == 0 || turn%4 == 3 { // neither is always the first
			without = append(without, runTrue(count()/turns, &errs))
			continue
		}
		end := startOrphans(&autorestart.Orphans{Subreaper: true})
		with = append(with, runTrue(count()/turns, &errs))
		end()
	}
	middle := func(all []time.Duration) float64 {
		slices.Sort(all)
		return all[len(all)/2].Seconds()
	}
	metric(float64(count()/turns)/middle(without), "runs/s-without")
	metric(float64(count()/turns)/middle(with), "runs/s-with")
	metric(middle(with)/middle(without), "time-ratio")
	metric(float64(errs.Load()), "errors")

	// How long it takes to be rid of the last of many orphans.
	const orphans = 200
	end := startOrphans(&autorestart.Orphans{Subreaper: true})
	defer end()
	for range orphans {
		check(exec.Command("/bin/sh", "-c", "/bin/true &").Run() == nil, "sh")
	}
	began := time.Now()
	eventually("all orphans are reaped", haveNoChildren)
	metric(milliseconds(time.Since(began)), "ms/last-orphans")
})

// openSockets opens as many as socketsEnv says.
func openSockets() {
	sockets, _ := strconv.Atoi(os.Getenv(socketsEnv))
	for range sockets / 2 {
		_, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		check(err == nil, "socketpair:", err)
	}
}

// runTrue runs n children from eight goroutines and returns how long that took.
func runTrue(n int, errs *atomic.Int64) time.Duration {
	var wg sync.WaitGroup
	began := time.Now()
	for range 8 {
		wg.Go(func() {
			for range n / 8 {
				cmd := exec.Command("/bin/true")
				if cmd.Run() != nil || !cmd.ProcessState.Success() {
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
	if os.Getenv(fullEnv) != "" {
		n = 100_000
	}
	for _, sockets := range []string{"0", "10000"} {
		b.Run("sockets="+sockets, func(b *testing.B) {
			b.Setenv(socketsEnv, sockets)
			medians := benchmarkScenarios(b, n, 1, "bench exec")
			atMost(b, medians, "errors", 0)
			if n >= 100_000 { // with fewer, the machine's whims count for more
				atMost(b, medians, "time-ratio", 1.05)
			}
		})
	}
}
