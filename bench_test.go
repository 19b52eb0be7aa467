//go:build linux

package autorestart

import (
	"bufio"
	"bytes"
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// BenchmarkRenameToMain measures the time from the rename that deploys a new
// version to the first line of its main: for a daemon that calls
// RestartOnChange, for a bare inotify loop that execs at once, and for the same
// loop with a descriptor that crosses the exec. They take turns. Limits hold
// from 100 rounds on; the one beside the first loop only if that had to wait for
// the kernel to take its watch down, which some kernels at some times do in
// microseconds and others in milliseconds: without that wait the two loops are
// one.
func BenchmarkRenameToMain(b *testing.B) {
	dir := memoryDir(b)
	library := startLatencyDaemon(b, dir, "library")
	bare := startLatencyDaemon(b, dir, "bare")
	kept := startLatencyDaemon(b, dir, "kept")
	for b.Loop() {
		library.deploy(b)
		bare.deploy(b)
		kept.deploy(b)
	}
	b.ReportMetric(0, "ns/op") // of three deploys and the pauses between them
	b.ReportMetric(us(quantile(library.took, 0.50)), "library-p50-us")
	b.ReportMetric(us(quantile(library.took, 0.99)), "library-p99-us")
	b.ReportMetric(us(quantile(bare.took, 0.50)), "bare-p50-us")
	b.ReportMetric(us(quantile(bare.took, 0.99)), "bare-p99-us")
	b.ReportMetric(us(quantile(kept.took, 0.50)), "kept-p50-us")
	toBare := float64(quantile(library.took, 0.50)) / float64(quantile(bare.took, 0.50))
	toKept := float64(quantile(library.took, 0.50)) / float64(quantile(kept.took, 0.50))
	b.ReportMetric(toBare, "of-bare")
	b.ReportMetric(toKept, "of-kept")
	waited := quantile(bare.took, 0.50) > 2*quantile(kept.took, 0.50)
	if len(library.took) >= 100 && (waited && toBare > 0.70 || toKept > 1.25) {
		b.Errorf("rename to main takes %.2f of a bare loop (limit 0.70), %.2f of one that keeps its descriptor (limit 1.25)", toBare, toKept)
	}
}

// BenchmarkPackageInit measures what importing this package costs a program at
// its start.
func BenchmarkPackageInit(b *testing.B) {
	program := filepath.Join(memoryDir(b), "library")
	buildGo(b, program, "./testdata/latency/library")
	var took []time.Duration
	for b.Loop() {
		took = append(took, packageInit(b, program))
	}
	median := quantile(took, 0.50)
	b.ReportMetric(0, "ns/op") // of starting a process
	b.ReportMetric(us(median), "p50-us")
	if limit := 100 * time.Microsecond; len(took) >= 20 && median > limit {
		b.Errorf("package initialisation takes %v, limit %v", median, limit)
	}
}

// packageInit starts the program and returns what its runtime says of the
// initialisation of this package and the one below it, together:
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
		if rest, ok := strings.CutPrefix(line, "init "+modulePath); ok {
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
	if packages != 2 {
		tb.Fatalf("%d packages of this module in %q", packages, &stderr)
	}
	return total
}

// BenchmarkBinarySize measures what a call of RestartOnChange adds to stripped
// binaries: to what is loaded from the file, section by section. The size of the
// file itself moves in steps of 4 kB for each segment, and with the paths of the
// sources.
func BenchmarkBinarySize(b *testing.B) {
	dir := memoryDir(b)
	size := func(name string) float64 {
		out := filepath.Join(dir, name)
		buildGo(b, out, "./testdata/size/"+name, "-ldflags=-s -w", "-trimpath", "-buildvcs=false")
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
	if toEmpty > 500 || toHTTP > 200 {
		b.Errorf("RestartOnChange adds %.1f kB to an empty program (limit 500), %.1f kB to one that serves net/http (limit 200)", toEmpty, toHTTP)
	}
}

// BenchmarkIdle watches a daemon that has nothing to do.
func BenchmarkIdle(b *testing.B) {
	d := startLatencyDaemon(b, memoryDir(b), "library")
	d.deploy(b)
	// The runtime needs a while to come to rest after a start.
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
	busy, instances := busyThreads(b, d.pid), inotifyInstances(b, d.pid)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(switches)/window.Seconds(), "switches/s")
	b.ReportMetric(float64(busy), "threads-in-syscalls")
	b.ReportMetric(float64(instances), "inotify-instances")
	if switches > 0 || busy > 0 || instances > 1 {
		b.Errorf("%d context switches in %v (limit 0), %d threads of its own (limit 0), %d inotify instances (limit 1)", switches, window, busy, instances)
	}
}

func contextSwitches(tb testing.TB, pid int) (n int) {
	for _, status := range glob(tb, "/proc/%d/task/*/status", pid) {
		for line := range strings.Lines(string(readFile(tb, status))) {
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
	for _, file := range glob(tb, "/proc/%d/task/*/syscall", pid) {
		number, _, _ := strings.Cut(string(readFile(tb, file)), " ")
		if number != strconv.Itoa(unix.SYS_FUTEX) && number != strconv.Itoa(unix.SYS_EPOLL_PWAIT) {
			n++
		}
	}
	return n
}

func inotifyInstances(tb testing.TB, pid int) (n int) {
	for _, fd := range glob(tb, "/proc/%d/fd/*", pid) {
		if target, _ := os.Readlink(fd); target == "anon_inode:inotify" {
			n++
		}
	}
	return n
}

func glob(tb testing.TB, pattern string, args ...any) []string {
	tb.Helper()
	names, err := filepath.Glob(fmt.Sprintf(pattern, args...))
	if err != nil || len(names) == 0 {
		tb.Fatalf(pattern+": nothing there, %v", append(args, err)...)
	}
	return names
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
		buildGo(tb, out, "./testdata/latency/"+name, "-ldflags=-X main.version="+strconv.Itoa(i))
		d.versions[i] = readFile(tb, out)
	}
	writeExecutable(tb, d.path, d.versions[0])
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
	writeExecutable(tb, next, d.versions[d.deploys%2])
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

func quantile(took []time.Duration, q float64) time.Duration {
	sorted := slices.Sorted(slices.Values(took))
	return sorted[int(q*float64(len(sorted)-1))]
}

func us(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// memoryDir returns a directory on tmpfs where there is one of some size that
// programs can be executed on.
func memoryDir(tb testing.TB) string {
	var fs unix.Statfs_t
	err := unix.Statfs("/dev/shm", &fs)
	if err != nil || fs.Flags&unix.ST_NOEXEC != 0 || uint64(fs.Bavail)*uint64(fs.Bsize) < 1<<30 {
		return tb.TempDir()
	}
	dir, err := os.MkdirTemp("/dev/shm", "autorestart")
	if err != nil {
		return tb.TempDir()
	}
	tb.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func monotonic() int64 {
	var now unix.Timespec
	unix.ClockGettime(unix.CLOCK_MONOTONIC, &now)
	return now.Nano()
}

func buildGo(tb testing.TB, out, pkg string, flags ...string) {
	tb.Helper()
	cmd := exec.Command("go", append(append([]string{"build", "-o", out}, flags...), pkg)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := cmd.CombinedOutput(); err != nil {
		tb.Fatalf("%v: %v\n%s", cmd, err, output)
	}
}

func readFile(tb testing.TB, name string) []byte {
	tb.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// writeExecutable keeps forks away while the file is open for writing: a child
// that has a copy of the descriptor makes execve answer ETXTBSY.
func writeExecutable(tb testing.TB, name string, content []byte) {
	tb.Helper()
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if err := os.WriteFile(name, content, 0o755); err != nil {
		tb.Fatal(err)
	}
}
