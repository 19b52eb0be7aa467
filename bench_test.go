//go:build linux

package autorestart_test

import (
	"bufio"
	"bytes"
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// testdata has the programs that the benchmarks build.
const testdata = "internal/integrationtest/testdata/"

// BenchmarkRenameToMain measures the time from the rename that deploys a new
// version to the first line of its main: for a daemon that calls
// RestartOnChange, for a bare inotify loop that execs at once, and for the same
// loop with a descriptor that crosses the exec. They take turns. Limits hold
// from 100 rounds on; the one beside the first loop only if that had to wait for
// the kernel to take its watch down, which some kernels at some times do in
// microseconds and others in milliseconds: without that wait the two loops are
// one.
func BenchmarkRenameToMain(b *testing.B) {
	dir := testprocess.MemoryDir(b)
	library := startLatencyDaemon(b, dir, "library")
	bare := startLatencyDaemon(b, dir, "bare")
	kept := startLatencyDaemon(b, dir, "kept")
	for b.Loop() {
		library.deploy(b)
		bare.deploy(b)
		kept.deploy(b)
	}
	b.ReportMetric(0, "ns/op") // of three deploys and the pauses between them
	b.ReportMetric(testprocess.Microseconds(testprocess.Quantile(library.took, 0.50)), "library-p50-us")
	b.ReportMetric(testprocess.Microseconds(testprocess.Quantile(library.took, 0.99)), "library-p99-us")
	b.ReportMetric(testprocess.Microseconds(testprocess.Quantile(bare.took, 0.50)), "bare-p50-us")
	b.ReportMetric(testprocess.Microseconds(testprocess.Quantile(bare.took, 0.99)), "bare-p99-us")
	b.ReportMetric(testprocess.Microseconds(testprocess.Quantile(kept.took, 0.50)), "kept-p50-us")
	toBare := float64(testprocess.Quantile(library.took, 0.50)) / float64(testprocess.Quantile(bare.took, 0.50))
	toKept := float64(testprocess.Quantile(library.took, 0.50)) / float64(testprocess.Quantile(kept.took, 0.50))
	b.ReportMetric(toBare, "of-bare")
	b.ReportMetric(toKept, "of-kept")
	waited := testprocess.Quantile(bare.took, 0.50) > 2*testprocess.Quantile(kept.took, 0.50)
	if len(library.took) >= 100 && (waited && toBare > 0.70 || toKept > 1.60) {
		b.Errorf("rename to main takes %.2f of a bare loop (limit 0.70), %.2f of one that keeps its descriptor (limit 1.60)", toBare, toKept)
	}
}

// BenchmarkPackageInit measures what importing this package costs a program at
// its start.
func BenchmarkPackageInit(b *testing.B) {
	program := filepath.Join(testprocess.MemoryDir(b), "library")
	testprocess.Build(b, program, testdata+"latency/library")
	var took []time.Duration
	for b.Loop() {
		took = append(took, packageInit(b, program))
	}
	median := testprocess.Quantile(took, 0.50)
	b.ReportMetric(0, "ns/op") // of starting a process
	b.ReportMetric(testprocess.Microseconds(median), "p50-us")
	if limit := 200 * time.Microsecond; len(took) >= 20 && median > limit {
		b.Errorf("package initialisation takes %v, limit %v", median, limit)
	}
}

// packageInit starts the program and returns the time that its runtime reports for
// the initialisation of the packages of this module, together:
//
//	init github.com/autorestart-go/autorestart @0.42 ms, 0.021 ms clock, 2176 bytes, 14 allocs
func packageInit(tb testing.TB, program string) time.Duration {
	cmd := exec.Command(program)
	cmd.Env = []string{"GODEBUG=inittrace=1"}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	bufio.NewReader(stdout).ReadString('\n') // main has begun
	cmd.Process.Kill()
	cmd.Wait()
	var total time.Duration
	packages := 0
	for line := range strings.Lines(stderr.String()) {
		if rest, ok := strings.CutPrefix(line, "init "+testprocess.ModulePath); ok {
			_, rest, _ = strings.Cut(rest, "ms, ")
			clock, _, _ := strings.Cut(rest, " ms clock")
			ms, err := strconv.ParseFloat(clock, 64)
			if err != nil {
				tb.Fatalf("%q: %v", line, err)
			}
			total += time.Duration(ms * float64(time.Millisecond))
			packages++
		}
	}
	if packages < 2 { // this one and internal/handover at least
		tb.Fatalf("%d packages of this module in %q", packages, &stderr)
	}
	return total
}

// BenchmarkBinarySize measures what a call of RestartOnChange adds to stripped
// binaries: to the sections that are loaded from the file. The size of the
// file itself moves in steps of 4 kB for each segment, and with the paths of the
// sources.
func BenchmarkBinarySize(b *testing.B) {
	dir := testprocess.MemoryDir(b)
	size := func(name string) float64 {
		out := filepath.Join(dir, name)
		testprocess.Build(b, out, testdata+"size/"+name, "-ldflags=-s -w", "-trimpath", "-buildvcs=false")
		f, err := elf.Open(out)
		if err != nil {
			b.Fatal(err)
		}
		defer f.Close()
		var loaded uint64
		for _, s := range f.Sections {
			if s.Flags&elf.SHF_ALLOC != 0 && s.Type != elf.SHT_NOBITS {
				loaded += s.FileSize
			}
		}
		return float64(loaded) / 1000
	}
	toEmpty := size("empty-restarting") - size("empty")
	toHTTP := size("http-restarting") - size("http")
	for b.Loop() {
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(toEmpty, "kB-on-empty")
	b.ReportMetric(toHTTP, "kB-on-net/http")
	if toEmpty > 1086 || toHTTP > 679 {
		b.Errorf("RestartOnChange adds %.1f kB to an empty program (limit 1086), %.1f kB to one that serves net/http (limit 679)", toEmpty, toHTTP)
	}
}

// BenchmarkIdle watches a daemon that has nothing to do.
func BenchmarkIdle(b *testing.B) {
	d := startLatencyDaemon(b, testprocess.MemoryDir(b), "library")
	d.deploy(b)
	// The runtime is busy for a while after a start.
	const window = 3 * time.Second
	var switches int
	for range 5 {
		before := contextSwitches(b, d.pid)
		time.Sleep(window)
		if switches = contextSwitches(b, d.pid) - before; switches == 0 {
			break
		}
	}
	for b.Loop() {
	}
	busy, instances := busyThreads(b, d.pid), testprocess.InotifyInstances(b, d.pid)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(switches)/window.Seconds(), "switches/s")
	b.ReportMetric(float64(busy), "threads-in-syscalls")
	b.ReportMetric(float64(instances), "inotify-instances")
	if switches > 0 || busy > 0 || instances > 1 {
		b.Errorf("%d context switches in %v (limit 0), %d threads of its own (limit 0), %d inotify instances (limit 1)", switches, window, busy, instances)
	}
}

func contextSwitches(tb testing.TB, pid int) (n int) {
	for _, status := range testprocess.Glob(tb, "/proc/%d/task/*/status", pid) {
		for line := range strings.Lines(string(testprocess.ReadFile(tb, status))) {
			if name, value, _ := strings.Cut(line, ":"); strings.HasSuffix(name, "ctxt_switches") {
				count, err := strconv.Atoi(strings.TrimSpace(value))
				if err != nil {
					tb.Fatal(err)
				}
				n += count
			}
		}
	}
	return n
}

// busyThreads counts the threads that are anywhere but in the waits of the
// runtime itself: for work, and for its poller.
func busyThreads(tb testing.TB, pid int) (n int) {
	for _, file := range testprocess.Glob(tb, "/proc/%d/task/*/syscall", pid) {
		number, _, _ := strings.Cut(string(testprocess.ReadFile(tb, file)), " ")
		if number != strconv.Itoa(unix.SYS_FUTEX) && number != strconv.Itoa(unix.SYS_EPOLL_PWAIT) {
			n++
		}
	}
	return n
}

// latencyDaemon is one of the daemons in testdata/latency, and its versions.
type latencyDaemon struct {
	path     string
	versions [2][]byte
	pid      int
	deploys  int
	lines    *bufio.Reader
	took     []time.Duration
}

func startLatencyDaemon(tb testing.TB, dir, name string) *latencyDaemon {
	d := &latencyDaemon{path: filepath.Join(dir, name)}
	for i := range d.versions {
		out := filepath.Join(tb.TempDir(), name)
		testprocess.Build(tb, out, testdata+"latency/"+name, "-ldflags=-X main.version="+strconv.Itoa(i))
		d.versions[i] = testprocess.ReadFile(tb, out)
	}
	testprocess.WriteExecutable(tb, d.path, d.versions[0])
	cmd := exec.Command(d.path)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	d.lines = bufio.NewReader(stdout)
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	d.pid = cmd.Process.Pid
	tb.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	d.firstLine(tb)
	return d
}

// latencyPause lets the daemon arm its watch, and the kernel finish with the one
// before. Too short a pause shows in the figures, not as a failure.
const latencyPause = 15 * time.Millisecond

func (d *latencyDaemon) deploy(tb testing.TB) {
	d.deploys++
	next := d.path + ".new"
	testprocess.WriteExecutable(tb, next, d.versions[d.deploys%2])
	time.Sleep(latencyPause)
	start := monotonic()
	if err := os.Rename(next, d.path); err != nil {
		tb.Fatal(err)
	}
	d.took = append(d.took, time.Duration(d.firstLine(tb)-start))
}

func (d *latencyDaemon) firstLine(tb testing.TB) int64 {
	line, err := d.lines.ReadString('\n')
	if err != nil {
		tb.Fatalf("%s: %v", d.path, err)
	}
	n, err := strconv.ParseInt(line[:len(line)-1], 10, 64)
	if err != nil {
		tb.Fatal(err)
	}
	return n
}

func monotonic() int64 {
	var now unix.Timespec
	unix.ClockGettime(unix.CLOCK_MONOTONIC, &now)
	return now.Nano()
}

// BenchmarkUnrelatedFiles measures the CPU time that a daemon's watch costs while
// other files are made, written and deleted in its directory, against a loop that
// only reads the events. A deploy happens among each 100,000 files. An operation is
// 1,000 files. Both are woken more or less often if the machine does something else,
// so the ratio is the median of those over 5,000 files each. The limit holds from
// 100,000 files on.
func BenchmarkUnrelatedFiles(b *testing.B) {
	if !daemontest.HaveEvents {
		b.Skip("no events here")
	}
	dir := testprocess.MemoryDir(b)
	d := startLatencyDaemon(b, dir, "library")
	var mask uint64
	testprocess.WaitFor(b, "watch of the daemon", func() bool {
		mask = daemontest.WatchMask(b, d.pid, dir)
		return mask != 0
	})
	reader := startReader(b, dir, mask)
	watcherStart, readerStart := cpuTime(b, d.pid), cpuTime(b, reader)
	const batch = 1000
	files, other := 0, filepath.Join(dir, "other-")
	var ratios []float64
	watcherBefore, readerBefore := watcherStart, readerStart
	for b.Loop() {
		for range batch {
			makeAndDelete(b, other+strconv.Itoa(files))
			files++
			if files%(100*batch) == batch/2 {
				d.deploy(b)
			}
		}
		if files%(5*batch) == 0 {
			watcher, reading := cpuTime(b, d.pid), cpuTime(b, reader)
			ratios = append(ratios, float64(watcher-watcherBefore)/float64(reading-readerBefore))
			watcherBefore, readerBefore = watcher, reading
		}
	}
	watcher, reading := idleCPUTime(b, d.pid)-watcherStart, idleCPUTime(b, reader)-readerStart
	ratio := float64(watcher) / float64(reading)
	b.ReportMetric(ratio, "of-reader-in-all")
	if len(ratios) > 0 {
		slices.Sort(ratios)
		ratio = ratios[len(ratios)/2]
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(files), "files")
	b.ReportMetric(float64(watcher.Nanoseconds())/float64(files), "watcher-ns/file")
	b.ReportMetric(float64(reading.Nanoseconds())/float64(files), "reader-ns/file")
	b.ReportMetric(ratio, "of-reader")
	if files >= 100*batch && ratio > 1.5 {
		b.Errorf("watching costs %.2f of the CPU time that reading the events does (limit 1.5)", ratio)
	}
}

func makeAndDelete(tb testing.TB, name string) {
	if err := os.WriteFile(name, []byte("unrelated"), 0o644); err != nil {
		tb.Fatal(err)
	}
	if err := os.Remove(name); err != nil {
		tb.Fatal(err)
	}
}

// startReader starts the loop that only reads, and waits until it does.
func startReader(tb testing.TB, dir string, mask uint64) (pid int) {
	program := filepath.Join(testprocess.MemoryDir(tb), "reader")
	testprocess.Build(tb, program, testdata+"deploy/reader")
	cmd := exec.Command(program, dir, strconv.FormatUint(mask, 16))
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	if _, err := bufio.NewReader(stdout).ReadString('\n'); err != nil {
		tb.Fatal(err)
	}
	return cmd.Process.Pid
}

// cpuTime returns the CPU time of all threads that a process has and had, the
// images before included.
func cpuTime(tb testing.TB, pid int) time.Duration {
	tb.Helper()
	// MAKE_PROCESS_CPUCLOCK, as clock_getcpuclockid(3) does it
	const cpuclockSched = 2
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|cpuclockSched), &ts); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(ts.Nano())
}

// idleCPUTime waits until a process has nothing left to do.
func idleCPUTime(tb testing.TB, pid int) (used time.Duration) {
	tb.Helper()
	since := time.Now()
	testprocess.WaitFor(tb, "idle process", func() bool {
		now := cpuTime(tb, pid)
		if now != used {
			used, since = now, time.Now()
		}
		return time.Since(since) > 100*time.Millisecond
	})
	return used
}
