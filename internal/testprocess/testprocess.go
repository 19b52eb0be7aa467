// Package testprocess is shared by all tests that start processes: waiting, helper
// processes, tools, files and builds. It imports nothing of this module but testclock, so that
// the tests inside any of its packages can use it.
package testprocess

import (
	"os"
	"strconv"
	"sync"
	"testing"
)

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
