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

// Run returns a Func that runs the new version with the given arguments and
// accepts it if it exits with status 0 in time: "app -check-config", say. The
// version that runs goes on running beside it, so the arguments should be such
// that nothing is listened on, watched or changed.
//
// What is executed is the very file that was opened, with the environment of
// this process and nothing on standard input. When the time is up, or ctx ends,
// it is killed together with its process group, which is its own; so is what a
// run has left in its group when it exits. The error tells what it wrote, the last
// 4 KiB of it, to standard output and standard error.
func Run(timeout time.Duration, args ...string) Func {
	return func(ctx context.Context, exe *os.File) error {
		limited, cancel := context.WithTimeoutCause(ctx, timeout, errTimeout)
		defer cancel()
		err := run(limited, exe, args)
		if err == nil || ctx.Err() != nil {
			return errors.Join(err, context.Cause(ctx))
		}
		return &autorestart.RejectedError{
			Found:    commandLine(exe, args) + " that ends with " + err.Error(),
			Expected: "exit status 0 within " + timeout.String(),
			Err:      err,
		}
	}
}

var errTimeout = errors.New("the time limit")

// A runError is a run that did not end well.
type runError struct {
	err     error
	written []byte
}

func (e *runError) Unwrap() error { return e.err }

func (e *runError) Error() string {
	text := strings.TrimSpace(string(e.written))
	if text == "" {
		return e.err.Error() + " and no output"
	}
	return e.err.Error() + " and the output " + strconv.Quote(text)
}

func commandLine(exe *os.File, args []string) string {
	return strings.Join(append([]string{exe.Name()}, args...), " ")
}

func run(ctx context.Context, exe *os.File, args []string) error {
	cmd := exec.Command(openPath(exe))
	cmd.Args = append([]string{exe.Name()}, args...)
	cmd.ExtraFiles = []*os.File{exe}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	output := new(tail)
	cmd.Stdout, cmd.Stderr = output, output
	cmd.WaitDelay = time.Second // for a process that has left the group with our pipe

	if err := cmd.Start(); err != nil {
		return &runError{err, nil}
	}
	kill := func() { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	release := context.AfterFunc(ctx, kill)
	err := waitAndKill(cmd, kill)
	switch {
	case !release():
		return &runError{context.Cause(ctx), output.bytes()}
	case err != nil:
		return &runError{err, output.bytes()}
	}
	return nil
}

// tail keeps the last that is written to it.
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
