//go:build !autorestart_portable

// A PID namespace for a program and what it starts. It needs CAP_SYS_ADMIN.
//
//	call                         since  without it
//	CLONE_NEWPID, unshare(2)     3.8    the process group alone
//	/proc/thread-self/ns/
//	pid_for_children             4.12   the same

package verify

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/verify/internal/firstprocess"
)

// startInNamespace starts the command in a new PID namespace, beside its first process.
// When that is killed, the kernel kills every process of the namespace. No process can
// leave it. The command has PID 2 there, and is a child of this process.
func startInNamespace(ctx context.Context, cmd *exec.Cmd) (scope, error) {
	if !firstprocess.Own() {
		return scope{}, errors.ErrUnsupported
	}
	// Package os starts a process when it looks for pidfds. That must not be the first one.
	if self, err := os.FindProcess(os.Getpid()); err == nil {
		self.Release()
	}
	type started struct {
		scope scope
		err   error
	}
	result := make(chan started, 1)
	go func() {
		s, err := startFromThread(ctx, cmd)
		result <- started{s, err}
	}()
	r := <-result
	return r.scope, r.err
}

// startFromThread changes the namespace for children of its thread, for a while. If it
// can't go back, the thread ends with the goroutine.
func startFromThread(ctx context.Context, cmd *exec.Cmd) (scope, error) {
	runtime.LockOSThread()
	own, err := os.Open("/proc/thread-self/ns/pid_for_children")
	if err == nil {
		defer own.Close()
		err = unix.Setns(int(own.Fd()), unix.CLONE_NEWPID) // the thread has to be able to return
	}
	if err == nil {
		err = unix.Unshare(unix.CLONE_NEWPID)
	}
	if err != nil {
		runtime.UnlockOSThread()
		return scope{}, err
	}
	defer func() {
		if unix.Setns(int(own.Fd()), unix.CLONE_NEWPID) == nil {
			runtime.UnlockOSThread()
		}
	}()
	n, err := startFirstProcess(ctx)
	if err != nil {
		return scope{}, err
	}
	group, err := startInGroup(ctx, cmd)
	if err != nil {
		n.kill()
		n.close()
		return scope{}, err
	}
	return scope{
		kill:  func() { group.kill(); n.kill() },
		close: n.close,
	}, nil
}

// A namespace is a PID namespace, by its first process.
type namespace struct {
	first *exec.Cmd
	input *os.File // when it is closed, the first process exits
}

// startFirstProcess starts the first process of the namespace for children of this thread,
// and waits until it is there.
func startFirstProcess(ctx context.Context) (_ *namespace, err error) {
	childInput, input, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer childInput.Close()
	output, childOutput, err := os.Pipe()
	if err != nil {
		input.Close()
		return nil, err
	}
	defer output.Close()
	first := exec.Command("/proc/self/exe")
	first.Args = []string{"autorestart-verify"}
	first.Env = append(os.Environ(), firstprocess.Env+"=1")
	first.Stdin, first.Stdout = childInput, childOutput
	first.SysProcAttr = groupAttr() // no signal from the terminal
	err = first.Start()
	childOutput.Close()
	if err != nil {
		input.Close()
		return nil, err
	}
	n := &namespace{first, input}
	output.SetReadDeadline(time.Now().Add(firstProcessTimeout))
	stop := context.AfterFunc(ctx, func() { output.SetReadDeadline(time.Now()) })
	defer stop()
	answer := make([]byte, 1)
	if _, err := output.Read(answer); err != nil || string(answer) != firstprocess.Ready {
		n.kill()
		n.close()
		return nil, errors.Join(errors.New("verify: no first process of a PID namespace"), err)
	}
	return n, nil
}

// firstProcessTimeout is how long the executable of this process may take until it
// initialises its packages.
const firstProcessTimeout = 10 * time.Second

func (n *namespace) kill() { n.first.Process.Kill() }

// close reaps the first process, which ends after all others. The program must have been
// reaped: the first process waits for that.
func (n *namespace) close() {
	n.input.Close()
	gone := make(chan struct{})
	go func() {
		n.first.Wait()
		close(gone)
	}()
	select {
	case <-gone:
	case <-time.After(endTimeout): // a process waits for a device
	}
}
