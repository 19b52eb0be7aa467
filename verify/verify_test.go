//go:build unix

package verify

import (
	"context"
	"crypto/ed25519"
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

func TestSignature(t *testing.T) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	otherPublic, otherPrivate, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	content := []byte(strings.Repeat("executable", 1000))
	signature := ed25519.Sign(private, content)
	for _, tt := range []struct {
		name      string
		signature []byte
		keys      []ed25519.PublicKey
		found     string // "" if accepted
	}{
		{"signed", signature, []ed25519.PublicKey{public}, ""},
		{"signed by the second", signature, []ed25519.PublicKey{otherPublic, public}, ""},
		{"signed by another", ed25519.Sign(otherPrivate, content), []ed25519.PublicKey{public}, "does not match"},
		{"other content", ed25519.Sign(private, content[1:]), []ed25519.PublicKey{public}, "does not match"},
		{"no signature", nil, []ed25519.PublicKey{public}, "no such file"},
		{"short", signature[:63], []ed25519.PublicKey{public}, "not 64 bytes"},
		{"long", append(signature, 0), []ed25519.PublicKey{public}, "not 64 bytes"},
		{"no key", signature, nil, "does not match"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			name := filepath.Join(t.TempDir(), "app")
			if err := os.WriteFile(name, content, 0o755); err != nil {
				t.Fatal(err)
			}
			if tt.signature != nil {
				if err := os.WriteFile(name+SignatureSuffix, tt.signature, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			exe, err := os.Open(name)
			if err != nil {
				t.Fatal(err)
			}
			defer exe.Close()
			check := Signature(tt.keys...)
			for range 2 { // the second result comes from memory
				err = check(context.Background(), exe)
				rejected, ok := errors.AsType[*autorestart.RejectedError](err)
				switch {
				case tt.found == "" && err != nil:
					t.Fatal(err)
				case tt.found != "" && (!ok || !rejected.Retryable || !strings.Contains(rejected.Found, tt.found)):
					t.Fatalf("%v: not a retryable rejection with %q", err, tt.found)
				}
			}
			// A rejected version is accepted once the right signature is there.
			if err := os.WriteFile(name+SignatureSuffix, signature, 0o644); err != nil {
				t.Fatal(err)
			}
			if err := check(context.Background(), exe); err != nil && len(tt.keys) > 0 {
				t.Error(err)
			}
		})
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
