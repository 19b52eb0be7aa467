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
// and a process group of its own. The error contains the last 4 KiB of what the program
// wrote to standard output and standard error.
//
// When the timeout has passed or ctx ends, Run kills the program. When the program exits or
// is killed, Run kills what it has started, and returns when that has ended, or after a
// second if it waits for a device. Run uses the first of these means that it can:
//
//   - A cgroup for the program, below the one of this process. That one must be of version
//     2, belong to the user of this process and be delegated: marked by systemd
//     (Delegate=yes), or, if the user is not root, below a cgroup of another user. It
//     needs Linux 5.14. A process survives only if it is moved to another cgroup, which
//     takes rights to that, or if another process has started it on request, as systemd
//     does.
//   - A PID namespace for the program. It needs CAP_SYS_ADMIN, which root has outside of
//     most containers, and Linux 4.12. No process can leave it. If this process is
//     killed, the kernel kills them all. The program has another PID than the one in
//     /proc, where it finds itself as /proc/self; the PID of its parent is 0. It can't
//     signal processes outside, so it takes the process of a PID file for one that is
//     gone. The first process of the namespace is the executable of this process again.
//     It stops at a package that is initialised before package os, and waits.
//   - The process group. A process that has left it by setpgid(2) or setsid(2) survives:
//     what daemonizes, and jobs of a shell with job control. If the process has the output
//     of the program, Run waits for the end of that for a second after the program. If
//     the program itself has taken the identity of another user, a process without
//     privileges can't kill it, and Run returns when it exits. Systems other than Linux
//     have these means alone.
//
// The status of the program decides, whatever the means are and whatever survives.
func Run(timeout time.Duration, args ...string) Func {
	return runWith(starters, timeout, args)
}

func runWith(starters []starter, timeout time.Duration, args []string) Func {
	return func(ctx context.Context, exe *os.File) error {
		limited, cancel := context.WithTimeoutCause(ctx, timeout, errTimeout)
		defer cancel()
		err := run(limited, exe, args, starters)
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
		cmd.WaitDelay = killDelay
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

// killDelay is how long a killed process may take to end, and how long the output of a
// program is read after its end: a process that has left the scope may have the pipe.
const killDelay = time.Second

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
