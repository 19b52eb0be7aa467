//go:build unix

package verify

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart"
)

func openShell(t *testing.T) *os.File {
	t.Helper()
	exe, err := os.Open("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { exe.Close() })
	return exe
}

func TestRunRejects(t *testing.T) {
	for _, tt := range []struct {
		name, script, found string
	}{
		{"exit status", "echo bad >&2; exit 7", `exit status 7 and the output "bad"`},
		{"silence", "exit 1", "exit status 1 and no output"},
		{"signal", "kill -SEGV $$", "segmentation fault"},
		{"long output", "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done; exit 1", `line 2999"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := Run(time.Minute, "-c", tt.script)(context.Background(), openShell(t))
			rejected, ok := errors.AsType[*autorestart.RejectedError](err)
			if !ok || rejected.Retryable || !strings.Contains(rejected.Found, tt.found) {
				t.Fatalf("%v: not a final rejection with %q", err, tt.found)
			}
			if len(rejected.Found) > 3*tailSize {
				t.Errorf("%d bytes of reason", len(rejected.Found))
			}
		})
	}
}

// The child that has to be killed writes its PID first, and has the pipe of its parent.
func TestRunKillsChildren(t *testing.T) {
	for _, tt := range []struct {
		name, script string
		timeout      time.Duration
	}{
		{"in time", "sleep 1000 & echo $! > $0; exit 0", time.Minute},
		{"out of time", "sleep 1000 & echo $! > $0; sleep 1000", time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			pidFile := filepath.Join(t.TempDir(), "pid")
			err := Run(tt.timeout, "-c", tt.script, pidFile)(context.Background(), openShell(t))
			if accepted := tt.timeout == time.Minute; (err == nil) != accepted {
				t.Fatalf("%v", err)
			}
			b, err := os.ReadFile(pidFile)
			if err != nil {
				t.Fatal(err)
			}
			pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
			if err != nil {
				t.Fatal(err)
			}
			// The child is an orphan. Its new parent may take a moment to reap it.
			for deadline := time.Now().Add(10 * time.Second); alive(pid); time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("child %d is alive", pid)
				}
			}
		})
	}
}

// alive reports whether the process runs; a zombie does not.
func alive(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return syscall.Kill(pid, 0) == nil && !os.IsNotExist(err)
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(rest, "Z")
}

func TestRunEndsWithContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(context.Background())
	cause := errors.New("shutting down")
	started := make(chan struct{})
	pidFile := filepath.Join(t.TempDir(), "pid")
	go func() {
		for {
			if _, err := os.Stat(pidFile); err == nil {
				break
			}
			time.Sleep(time.Millisecond)
		}
		close(started)
		cancel(cause)
	}()
	err := Run(time.Minute, "-c", "echo > $0; sleep 1000", pidFile)(ctx, openShell(t))
	<-started
	if !errors.Is(err, cause) {
		t.Errorf("%v, expected %v", err, cause)
	}
}

func TestAll(t *testing.T) {
	var calls []string
	step := func(name string, err error) Func {
		return func(context.Context, *os.File) error {
			calls = append(calls, name)
			return err
		}
	}
	bad := errors.New("bad")
	if err := All(step("a", nil), step("b", bad), step("c", nil))(context.Background(), nil); err != bad {
		t.Errorf("%v, expected %v", err, bad)
	}
	if got := strings.Join(calls, ""); got != "ab" {
		t.Errorf("called %q, expected ab", got)
	}
}
