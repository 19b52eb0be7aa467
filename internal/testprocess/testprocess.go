// Package testprocess is shared by all tests that start processes: waiting, helper
// processes, tools, files and builds. It imports nothing of this module, so that the
// tests inside any of its packages can use it.
package testprocess

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Timeout is how long a test waits for something that should take milliseconds,
// on a machine that has nothing else to do.
const Timeout = 20 * time.Second

// Stretch returns how long something may take on this machine at this moment if it
// takes at most d on an idle one. Processes share the CPUs, so the limit grows with
// the number of those that want to run, now and on average over the last minute, up
// to the fivefold.
func Stretch(d time.Duration) time.Duration {
	content, _ := os.ReadFile("/proc/loadavg") // 0.30 0.25 0.14 1/123 4567
	fields := strings.Fields(string(content))
	if len(fields) < 4 {
		return d
	}
	average, _ := strconv.ParseFloat(fields[0], 64)
	running, _, _ := strings.Cut(fields[3], "/")
	now, _ := strconv.ParseFloat(running, 64)
	perCPU := max(average, now) / float64(runtime.NumCPU())
	return time.Duration(float64(d) * min(max(1, perCPU), 5))
}

// WaitFor waits until condition holds.
func WaitFor(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for start := time.Now(); !condition(); time.Sleep(2 * time.Millisecond) {
		if waited := time.Since(start); waited > Timeout && waited > Stretch(Timeout) {
			t.Fatalf("no %s for %v", what, waited)
		}
	}
}

// Receive waits for a value from c. If c has been closed, ok is false.
func Receive[T any](t testing.TB, what string, c <-chan T) (v T, ok bool) {
	t.Helper()
	start := time.Now()
	for {
		select {
		case v, ok = <-c:
			return v, ok
		case <-time.After(Timeout / 10):
			if waited := time.Since(start); waited > Timeout && waited > Stretch(Timeout) {
				t.Fatalf("no %s for %v", what, waited)
			}
		}
	}
}

// FromEnv returns a number that the environment gives for a longer run.
func FromEnv(t testing.TB, key string, otherwise int) int {
	t.Helper()
	value := os.Getenv(key)
	if value == "" {
		return otherwise
	}
	n, err := strconv.Atoi(value)
	if err != nil {
		t.Fatalf("%s: %v", key, err)
	}
	return n
}

// ReadLine reads a line of standard input, and no further: the next image reads the
// rest. It returns "" at the end.
func ReadLine() string {
	var line []byte
	for b := make([]byte, 1); ; {
		n, err := os.Stdin.Read(b)
		switch {
		case n == 1 && b[0] == '\n':
			return string(line)
		case n == 1:
			line = append(line, b[0])
		case err != nil:
			return ""
		}
	}
}

// Log collects what a process writes.
type Log struct {
	mu sync.Mutex
	b  []byte
}

func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b = append(l.b, p...)
	return len(p), nil
}

func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.b)
}
