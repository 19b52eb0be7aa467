// Package testprocess has what tests and the processes that they start need of each
// other, whatever these are. It imports nothing of this module, so that the tests
// inside any of its packages can use it.
package testprocess

import (
	"os"
	"sync"
	"testing"
	"time"
)

// Patience is how long a test waits for something that should take milliseconds.
const Patience = 20 * time.Second

// WaitFor waits until condition holds.
func WaitFor(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(Patience); !condition(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no %s for %v", what, Patience)
		}
	}
}

// ReadLine reads a line of standard input, and no further: the rest is for whichever
// image comes to it. It returns "" at the end.
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
