package autorestart

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// BenchmarkRenameToMain measures the time from the rename that deploys a new
// version to the first line of its main: for a daemon that calls
// RestartOnChange, for a bare inotify loop that execs at once, and for the same
// loop with a descriptor that crosses the exec. They take turns. Limits hold
// from 100 rounds on.
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
	b.ReportMetric(us(library.quantile(0.50)), "library-p50-us")
	b.ReportMetric(us(library.quantile(0.99)), "library-p99-us")
	b.ReportMetric(us(bare.quantile(0.50)), "bare-p50-us")
	b.ReportMetric(us(kept.quantile(0.50)), "kept-p50-us")
	toBare := float64(library.quantile(0.50)) / float64(bare.quantile(0.50))
	toKept := float64(library.quantile(0.50)) / float64(kept.quantile(0.50))
	b.ReportMetric(toBare, "of-bare")
	b.ReportMetric(toKept, "of-kept")
	if len(library.took) >= 100 && (toBare > 0.70 || toKept > 1.25) {
		b.Errorf("rename to main takes %.2f of a bare loop (limit 0.70), %.2f of one that keeps its descriptor (limit 1.25)", toBare, toKept)
	}
}

// latencyDaemon is one of the daemons in testdata/latency, and its versions.
type latencyDaemon struct {
	path     string
	versions [2][]byte
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

func (d *latencyDaemon) quantile(q float64) time.Duration {
	sorted := slices.Sorted(slices.Values(d.took))
	return sorted[int(q*float64(len(sorted)-1))]
}

func us(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// memoryDir returns a directory on tmpfs where there is one.
func memoryDir(tb testing.TB) string {
	if runtime.GOOS != "linux" {
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

func writeExecutable(tb testing.TB, name string, content []byte) {
	tb.Helper()
	if err := os.WriteFile(name, content, 0o755); err != nil {
		tb.Fatal(err)
	}
}
