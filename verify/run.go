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

// Run returns a Func that runs the new version with the given arguments, for example
// "app -check-config". It accepts the version if the program exits with status 0 within
// the timeout. The old version keeps running at the same time, so with these arguments the
// program should not listen, watch or change anything.
//
// The program is executed from the file that was opened, where the system can do that;
// elsewhere by its path. It has the environment of this process, an empty standard input
// and a process group of its own. When the timeout has passed or ctx ends, the group is
// killed. When the program exits, processes that are left in its group are killed, too.
// The error contains the last 4 KiB of what the program wrote to standard output and
// standard error.
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

// A runError is the error of a run, and its output.
type runError struct {
	err    error
	output []byte
}

func (e *runError) Unwrap() error { return e.err }

func (e *runError) Error() string {
	text := strings.TrimSpace(string(e.output))
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
	cmd.WaitDelay = time.Second // for a process that has the pipe but has left the group

	if err := cmd.Start(); err != nil {
		return &runError{err, nil}
	}
	kill := func() { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	stop := context.AfterFunc(ctx, kill)
	err := waitAndKill(cmd, kill)
	switch {
	case !stop():
		return &runError{context.Cause(ctx), output.bytes()}
	case err != nil:
		return &runError{err, output.bytes()}
	}
	return nil
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
