package autorestarttest_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// A recorder is the test in which something has to fail.
type recorder struct {
	testing.TB
	text     strings.Builder // that it has logged
	failed   bool
	cleanups []func()
}

// fails calls f as a test that has to fail, and returns what that has logged.
func fails(t *testing.T, f func(t testing.TB)) string {
	t.Helper()
	r := &recorder{TB: t}
	ended := make(chan bool)
	go func() { // Fatal ends the goroutine
		defer close(ended)
		defer func() {
			for len(r.cleanups) > 0 {
				last := len(r.cleanups) - 1
				cleanup := r.cleanups[last]
				r.cleanups = r.cleanups[:last]
				cleanup()
			}
		}()
		f(r)
	}()
	testprocess.Receive(t, "end of the test that fails", ended)
	if !r.failed {
		t.Error("the test has not failed")
	}
	return r.text.String()
}

func (r *recorder) Cleanup(f func())                  { r.cleanups = append(r.cleanups, f) }
func (r *recorder) Failed() bool                      { return r.failed }
func (r *recorder) Log(args ...any)                   { fmt.Fprintln(&r.text, args...) }
func (r *recorder) Logf(format string, args ...any)   { fmt.Fprintf(&r.text, format+"\n", args...) }
func (r *recorder) Fatalf(format string, args ...any) { r.Fatal(fmt.Sprintf(format, args...)) }
func (r *recorder) Fatal(args ...any) {
	r.Log(args...)
	r.failed = true
	runtime.Goexit()
}
