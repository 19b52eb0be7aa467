//go:build unix

package verify

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/autorestart-go/autorestart"
)

func runWith(starters []starter, timeout time.Duration, args []string) Func {
	return func(ctx context.Context, exe *os.File) error {
		limited, cancel := context.WithTimeoutCause(ctx, timeout, errTimeout)
		defer cancel()
		err := run(limited, exe, args, starters)
		if err == nil || ctx.Err() != nil {
			return errors.Join(err, context.Cause(ctx))
		}
		return &autorestart.RejectedError{
			Found:    "a failed run of " + commandLine(exe, args) + ": " + err.Error(),
			Expected: "exit status 0 within " + timeout.String(),
			Err:      err,
		}
	}
}

var errTimeout = errors.New("time limit exceeded")

// A runError is the error of a run, and its output.
type runError struct {
	err    error
	output []byte
}

func (e *runError) Unwrap() error { return e.err }

func (e *runError) Error() string {
	text := strings.TrimSpace(string(e.output))
	if text == "" {
		return e.err.Error() + ", no output"
	}
	return e.err.Error() + ", output " + strconv.Quote(text)
}

func commandLine(exe *os.File, args []string) string {
	return strings.Join(append([]string{exe.Name()}, args...), " ")
}

func run(ctx context.Context, exe *os.File, args []string, starters []starter) error {
	path, files, err := forChild(exe)
	if err != nil {
		return &runError{err, nil}
	}
	for _, file := range files {
		defer file.Close()
	}
	input, err := emptyInput()
	if err != nil {
		return &runError{err, nil}
	}
	defer input.Close()
	output := new(tail)
	var cmd *exec.Cmd
	var s scope
	for _, start := range starters {
		if ctx.Err() != nil {
			return &runError{context.Cause(ctx), nil}
		}
		cmd = exec.Command(path)
		cmd.Args = append([]string{exe.Name()}, args...)
		cmd.ExtraFiles = files
		cmd.SysProcAttr = groupAttr()
		cmd.Stdin, cmd.Stdout, cmd.Stderr = input, output, output
		cmd.WaitDelay = outputDelay
		if s, err = start(ctx, cmd); err == nil {
			break
		}
	}
	if err != nil {
		return &runError{err, nil}
	}

	killed := make(chan struct{})
	ended := context.AfterFunc(ctx, func() {
		s.kill()
		close(killed)
	})
	stop := func() bool {
		stopped := ended()
		if !stopped {
			<-killed // the last call of kill: PIDs are used again
		}
		return stopped
	}
	inTime, err := waitAndKill(cmd, stop, s.kill)
	s.close()
	switch {
	case !inTime:
		return &runError{context.Cause(ctx), output.bytes()}
	case err != nil && !errors.Is(err, exec.ErrWaitDelay): // the status was 0
		return &runError{err, output.bytes()}
	}
	return nil
}

// emptyInput opens the null device or, where that can't be had, as in a minimal chroot, a
// pipe that no process writes to.
func emptyInput() (*os.File, error) {
	if f, err := os.Open(os.DevNull); err == nil {
		return f, nil
	}
	f, w, err := os.Pipe()
	if err == nil {
		w.Close()
	}
	return f, err
}

// A starter starts a command in a scope, or returns an error and has started nothing.
type starter func(ctx context.Context, cmd *exec.Cmd) (scope, error)

// A scope is what a program and the processes that it starts are in.
type scope struct {
	kill  func() // kills all that is in it
	close func() // waits a moment until all is gone; called when the program has been reaped
}

// outputDelay is how long the output of a program is read after its end: a process that has left
// the scope may have the pipe.
const outputDelay = time.Second

// groupAttr returns attributes that give a command a process group of its own.
func groupAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// startInGroup starts a command that has the attributes of groupAttr. A process leaves the
// group by setpgid(2) or setsid(2).
func startInGroup(_ context.Context, cmd *exec.Cmd) (scope, error) {
	if err := cmd.Start(); err != nil {
		return scope{}, err
	}
	return scope{
		kill:  func() { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) },
		close: func() {},
	}, nil
}

// tail is a writer that keeps the end of what is written to it.
type tail struct {
	mu sync.Mutex
	b  []byte
}

const tailSize = 4 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p...)
	if len(t.b) > 2*tailSize {
		t.b = append(t.b[:0], t.b[len(t.b)-tailSize:]...)
	}
	return len(p), nil
}

func (t *tail) bytes() []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b[max(0, len(t.b)-tailSize):]
}
