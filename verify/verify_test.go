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
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// means are a way to start a program.
type means struct {
	starter  starter
	killsAll bool // also what has left the process group
}

// run is [Run] by these means alone.
func (m means) run(timeout time.Duration, args ...string) Func {
	return runWith([]starter{m.starter}, timeout, args)
}

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
	eachMeans(t, func(t *testing.T, m means) {
		for _, tt := range []struct {
			name, script, found string
		}{
			{"exit status", "echo bad >&2; exit 7", `exit status 7, output "bad"`},
			{"silence", "exit 1", "exit status 1, no output"},
			{"fault", "kill -SEGV $$", "signal: segmentation fault"},
			{"abort", "kill -ABRT $$", "signal: aborted"},
			{"termination", "kill $$", "signal: terminated"},
			{"kill", "kill -KILL $$", "signal: killed"},
			{"long output", "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done; exit 1", `line 2999"`},
		} {
			t.Run(tt.name, func(t *testing.T) {
				err := m.run(time.Minute, "-c", tt.script)(context.Background(), openShell(t))
				rejected, ok := errors.AsType[*autorestart.RejectedError](err)
				if !ok || rejected.Retryable || !strings.Contains(rejected.Found, tt.found) {
					t.Fatalf("%v: not a final rejection with %q", err, tt.found)
				}
				if len(rejected.Found) > 3*tailSize {
					t.Errorf("%d bytes of reason", len(rejected.Found))
				}
			})
		}
		wantNoChildren(t)
	})
}

func TestRunAccepts(t *testing.T) {
	eachMeans(t, func(t *testing.T, m means) {
		for _, tt := range []struct{ name, script string }{
			{"status", "exit 0"},
			{"children", "sleep 0 & sleep 0 & wait; (exit 3) || exit 0; exit 1"},
			{"signals", "trap 'exit 0' TERM; kill $$; exit 1"},
		} {
			t.Run(tt.name, func(t *testing.T) {
				if err := m.run(time.Minute, "-c", tt.script)(context.Background(), openShell(t)); err != nil {
					t.Error(err)
				}
			})
		}
		wantNoChildren(t)
	})
}

// A file that can't be executed is rejected, whatever means there are.
func TestRunOfNoProgram(t *testing.T) {
	eachMeans(t, func(t *testing.T, m means) {
		name := filepath.Join(t.TempDir(), "app")
		if err := os.WriteFile(name, []byte("no program"), 0o755); err != nil {
			t.Fatal(err)
		}
		exe, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer exe.Close()
		err = m.run(time.Minute)(context.Background(), exe)
		if _, ok := errors.AsType[*autorestart.RejectedError](err); !ok || !errors.Is(err, syscall.ENOEXEC) {
			t.Error(err)
		}
		wantNoChildren(t)
	})
}

// runOutOfTime runs a script that starts a process which writes its PID to a file, and does not end. If
// there was no time for the PID, it runs the script again with more.
func (m means) runOutOfTime(t *testing.T, script, pidFile string) error {
	t.Helper()
	for timeout := 200 * time.Millisecond; ; timeout *= 4 {
		err := m.run(timeout, "-c", script, pidFile)(context.Background(), openShell(t))
		if written, _ := os.ReadFile(pidFile); len(written) > 0 {
			return err
		}
	}
}

func (m means) runInTime(t *testing.T, script, pidFile string) error {
	t.Helper()
	return m.run(time.Minute, "-c", script, pidFile)(context.Background(), openShell(t))
}

// The child that has to be killed writes its PID first, and has the pipe of its parent.
func TestRunKillsChildren(t *testing.T) {
	const child = `sh -c 'read pid rest </proc/self/stat; echo $pid >$0; exec sleep 1000' $0 & until [ -s $0 ]; do sleep .01; done; `
	eachMeans(t, func(t *testing.T, m means) {
		for _, tt := range []struct {
			name, script string
			inTime       bool
		}{
			{"in time", child + "exit 0", true},
			{"out of time", child + "sleep 1000", false},
			{"out of time, deaf", "trap '' TERM INT HUP; " + child + "while :; do sleep 1; done", false},
		} {
			t.Run(tt.name, func(t *testing.T) {
				pidFile := filepath.Join(t.TempDir(), "pid")
				run := m.runOutOfTime
				if tt.inTime {
					run = m.runInTime
				}
				if err := run(t, tt.script, pidFile); (err == nil) != tt.inTime {
					t.Fatalf("%v", err)
				}
				wantKilled(t, pidFile)
				wantNoChildren(t)
			})
		}
	})
}

// survivor is a script that starts a process which leaves its group and session. The
// process writes its PID, as /proc has it, to the file $0.
const survivor = `setsid sh -c 'read pid rest </proc/self/stat; echo $pid >$0; exec sleep 1000' $0 & until [ -s $0 ]; do sleep .01; done; `

// A process that has left the group of the program does not survive it, where the kernel
// can tell. The answer is the same elsewhere.
func TestRunKillsWhatLeftTheGroup(t *testing.T) {
	testprocess.NeedTool(t, "setsid")
	eachMeans(t, func(t *testing.T, m means) {
		for _, tt := range []struct {
			name, rest string
			run        func(t *testing.T, script, pidFile string) error
			accepted   bool
		}{
			{"exit 0", "exit 0", m.runInTime, true},
			{"exit 1", "exit 1", m.runInTime, false},
			{"out of time", "sleep 1000", m.runOutOfTime, false},
		} {
			t.Run(tt.name, func(t *testing.T) {
				pidFile := filepath.Join(t.TempDir(), "pid")
				if err := tt.run(t, survivor+tt.rest, pidFile); (err == nil) != tt.accepted {
					t.Error(err)
				}
				if !m.killsAll { // as the documentation says
					pid := readPID(t, pidFile)
					if !alive(pid) {
						t.Errorf("process %d has ended", pid)
					}
					syscall.Kill(pid, syscall.SIGKILL)
				}
				wantKilled(t, pidFile)
				wantNoChildren(t)
			})
		}
	})
}

// wantKilled waits until the process that wrote its PID, as /proc has it, to the file has
// ended. It is an orphan: its new parent may take a moment to reap it.
func wantKilled(t *testing.T, pidFile string) {
	t.Helper()
	pid := readPID(t, pidFile)
	t.Cleanup(func() { syscall.Kill(pid, syscall.SIGKILL) })
	testprocess.WaitFor(t, "end of process "+strconv.Itoa(pid), func() bool { return !alive(pid) })
}

func readPID(t *testing.T, name string) int {
	t.Helper()
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(content)))
	if err != nil || pid <= 1 {
		t.Fatalf("%s: PID %d, %v", name, pid, err)
	}
	return pid
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
	eachMeans(t, func(t *testing.T, m means) {
		ctx, cancel := context.WithCancelCause(context.Background())
		cause := errors.New("shutting down")
		pidFile := filepath.Join(t.TempDir(), "pid")
		answer := make(chan error, 1)
		exe := openShell(t)
		go func() {
			answer <- m.run(time.Minute, "-c", "read pid rest </proc/self/stat; echo $pid > $0; sleep 1000", pidFile)(ctx, exe)
		}()
		testprocess.WaitFor(t, "program", func() bool {
			info, err := os.Stat(pidFile)
			return err == nil && info.Size() > 0
		})
		cancel(cause)
		if err, _ := testprocess.Receive(t, "answer", answer); !errors.Is(err, cause) {
			t.Errorf("%v, expected %v", err, cause)
		}
		wantKilled(t, pidFile)
		wantNoChildren(t)
	})
}

// Programs can be verified at the same time.
func TestRunsBesideRuns(t *testing.T) {
	eachMeans(t, func(t *testing.T, m means) {
		exe := openShell(t)
		answers := make(chan error, 8)
		for i := range cap(answers) {
			go func() {
				script := "sleep 1000 & sleep .0" + strconv.Itoa(i) + "; exit " + strconv.Itoa(i)
				err := m.run(time.Minute, "-c", script)(context.Background(), exe)
				if want := "exit status " + strconv.Itoa(i); i > 0 && err != nil && strings.Contains(err.Error(), want+", ") {
					err = nil
				} else if i > 0 {
					err = errors.Join(err, errors.New("expected "+want))
				}
				answers <- err
			}()
		}
		for range cap(answers) {
			if err, _ := testprocess.Receive(t, "answer", answers); err != nil {
				t.Error(err)
			}
		}
		wantNoChildren(t)
	})
}

// Whenever the context ends, nothing is left, and the answer is its cause or that of the
// program.
func TestRunEndsWithContextAtAnyTime(t *testing.T) {
	cause := errors.New("shutting down")
	eachMeans(t, func(t *testing.T, m means) {
		exe := openShell(t)
		for i := range 40 {
			ctx, cancel := context.WithCancelCause(context.Background())
			time.AfterFunc(time.Duration(i-1)*time.Millisecond/2, func() { cancel(cause) })
			if i == 0 {
				cancel(cause)
			}
			answer := make(chan error, 1)
			go func() { answer <- m.run(time.Minute, "-c", "sleep .01")(ctx, exe) }()
			if err, _ := testprocess.Receive(t, "answer", answer); err != nil && !errors.Is(err, cause) {
				t.Errorf("after %d: %v", i, err)
			}
			wantNoChildren(t)
			cancel(nil)
		}
	})
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
