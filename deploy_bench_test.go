//go:build linux

package autorestart

import (
	"bufio"
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/candidate"
)

// BenchmarkUnrelatedFiles measures the CPU time that a daemon's watch costs while
// other files are made, written and deleted in its directory, against a loop
// that only reads the events. A deploy happens among each 100,000 files. An
// operation is 1,000 files. Whatever else the machine does, both are woken more or
// less often for it, so the ratio is the median of those over 5,000 files each.
// The limit holds from 100,000 on.
func BenchmarkUnrelatedFiles(b *testing.B) {
	if !haveEvents {
		b.Skip("no events here")
	}
	dir := memoryDir(b)
	d := startLatencyDaemon(b, dir, "library")
	var mask uint64
	waitFor(b, "watch of the daemon", func() bool {
		mask = watchMask(b, d.pid, dir)
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
	watcher, reading := restingCPUTime(b, d.pid)-watcherStart, restingCPUTime(b, reader)-readerStart
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
	program := filepath.Join(memoryDir(tb), "reader")
	buildGo(tb, program, "./testdata/deploy/reader")
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

// watchMask returns the mask of a process's inotify watch on dir, 0 if there is
// none.
func watchMask(tb testing.TB, pid int, dir string) (mask uint64) {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		tb.Fatal(err)
	}
	infos, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", pid))
	for _, info := range infos {
		b, _ := os.ReadFile(info)
		for line := range bytes.Lines(b) {
			var wd, ino, dev, m uint64
			_, err := fmt.Sscanf(string(line), "inotify wd:%x ino:%x sdev:%x mask:%x", &wd, &ino, &dev, &m)
			if err == nil && ino == st.Ino && dev == uint64(unix.Major(uint64(st.Dev)))<<20|uint64(unix.Minor(uint64(st.Dev))) {
				mask = m
			}
		}
	}
	return mask
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

// restingCPUTime waits until a process has nothing left to do.
func restingCPUTime(tb testing.TB, pid int) (used time.Duration) {
	tb.Helper()
	since := time.Now()
	waitFor(tb, "process at rest", func() bool {
		now := cpuTime(tb, pid)
		if now != used {
			used, since = now, time.Now()
		}
		return time.Since(since) > 100*time.Millisecond
	})
	return used
}

// BenchmarkJudge measures what looking at a new version of a 20 MB Go program
// adds to its execution: opening it, comparing it with the image that runs, and
// judging it. The limit holds from 100 rounds on.
func BenchmarkJudge(b *testing.B) {
	old, next := buildLarge(b, "one"), buildLarge(b, "two")
	info, err := os.Stat(next)
	if err != nil {
		b.Fatal(err)
	}
	if info.Size() < 20e6 {
		b.Fatalf("a program of %d bytes, expected 20 MB", info.Size())
	}
	sys := runningFile{processFiles, old}
	rules := candidate.NewRules(sys, old)
	defer rules.Close()
	if rules.Running.ID.Size != info.Size() {
		b.Fatalf("builds of %d and %d bytes: a difference in size proves nothing", rules.Running.ID.Size, info.Size())
	}
	var took []time.Duration
	for b.Loop() {
		start := time.Now()
		c, rejection := candidate.Open(sys, next)
		if rejection != nil {
			b.Fatal(rejection)
		}
		if same, err := rules.Running.SameContent(c); err != nil || same {
			b.Fatal(same, err)
		}
		if rejection := rules.Judge(c); rejection != nil {
			b.Fatal(rejection)
		}
		if rejection := rules.Unchanged(c); rejection != nil {
			b.Fatal(rejection)
		}
		took = append(took, time.Since(start))
		c.Close()
	}
	median := quantile(took, 0.50)
	b.ReportMetric(us(median), "p50-us")
	b.ReportMetric(us(quantile(took, 0.99)), "p99-us")
	if limit := 200 * time.Microsecond; len(took) >= 100 && median > limit {
		b.Errorf("judging takes %v, limit %v", median, limit)
	}
}

// runningFile is a system whose running image is the file at the path.
type runningFile struct {
	candidate.System
	path string
}

func (s runningFile) OpenRunning() (candidate.File, error) { return s.Open(s.path) }

func (s runningFile) RunningID() candidate.ID {
	id, _ := s.Stat(s.path)
	return id
}

// buildLarge builds a program of 20 MB that knows its version.
func buildLarge(tb testing.TB, version string) (path string) {
	tb.Helper()
	dir := memoryDir(tb)
	blob := make([]byte, 20_000_000)
	rand.NewChaCha8([32]byte{}).Read(blob)
	for name, content := range map[string][]byte{
		"go.mod":  []byte("module large\n\ngo 1.26\n"),
		"main.go": []byte(strings.ReplaceAll("package main\n\nimport _ 'embed'\n\n//go:embed blob\nvar blob string\n\nvar version string\n\nfunc main() { println(len(blob), version) }\n", "'", `"`)),
		"blob":    blob,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			tb.Fatal(err)
		}
	}
	path = filepath.Join(dir, "large")
	cmd := exec.Command("go", "build", "-C", dir, "-trimpath", "-o", path, "-ldflags=-X main.version="+version, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=")
	if output, err := cmd.CombinedOutput(); err != nil {
		tb.Fatalf("%v: %v\n%s", cmd, err, output)
	}
	return path
}
