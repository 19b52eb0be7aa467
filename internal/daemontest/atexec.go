//go:build linux

package daemontest

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// AtExec stops a process at each of its next execs, when the new image has not executed its
// first instruction, and calls one of the functions meanwhile. The process must be a
// descendant of this one. It is traced from the return of AtExec until the last function
// returns; wait waits for that.
func AtExec(t testing.TB, pid int, functions ...func()) (wait func()) {
	t.Helper()
	attached, done := make(chan error), make(chan error, 1)
	go onThreadWithoutChildren(func() {
		err := seizeAll(pid)
		attached <- err
		if err == nil {
			done <- traceExecs(pid, functions)
		}
	})
	if err := <-attached; err != nil {
		t.Fatalf("cannot trace process %d: %v", pid, err)
	}
	return func() {
		t.Helper()
		if err, _ := testprocess.Receive(t, "exec of the process that is traced", done); err != nil {
			t.Fatalf("process %d: %v", pid, err)
		}
	}
}

// onThreadWithoutChildren calls f on a thread of its own. A process belongs to the thread that
// has started it, so a wait for any tracee of that thread finds no other process of the test.
func onThreadWithoutChildren(f func()) {
	runtime.LockOSThread() // until the thread ends
	var info unix.Siginfo
	err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT|unix.WALL|unix.WNOTHREAD, nil)
	if err == unix.ECHILD {
		f()
		return
	}
	ended := make(chan bool)
	go func() { // on another thread: this one is taken
		onThreadWithoutChildren(f)
		close(ended)
	}()
	<-ended
}

// seizeAll traces all threads of a process, and those that they start.
func seizeAll(pid int) error {
	dir := "/proc/" + strconv.Itoa(pid) + "/task"
	for seized := map[int]bool{}; ; {
		threads, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		before := len(seized)
		for _, thread := range threads {
			tid, _ := strconv.Atoi(thread.Name())
			const options = unix.PTRACE_O_TRACEEXEC | unix.PTRACE_O_TRACECLONE
			switch errno := ptrace(unix.PTRACE_SEIZE, tid, options); {
			case errno == unix.ESRCH || seized[tid]: // it has ended, or is traced
			case errno == 0 || errno == unix.EPERM && tid != pid: // also one that a traced thread has started
				seized[tid] = true
			default:
				return errno
			}
		}
		if len(seized) == before {
			return nil
		}
	}
}

// traceExecs passes on the signals that the threads of a process get, and calls a function at
// each exec. It stops tracing the process after the last one.
func traceExecs(pid int, functions []func()) error {
	for {
		var status unix.WaitStatus
		tid, err := unix.Wait4(-1, &status, unix.WALL|unix.WNOTHREAD, nil)
		switch {
		case err == unix.EINTR || err == nil && !status.Stopped() && tid != pid:
			continue
		case err != nil:
			return err
		case !status.Stopped():
			return fmt.Errorf("it has ended: %v", syscall.WaitStatus(status).Signal())
		}
		signal, event := int(status.StopSignal()), int(status)>>16
		if event == unix.PTRACE_EVENT_EXEC {
			functions[0]()
			if functions = functions[1:]; len(functions) == 0 {
				if errno := ptrace(unix.PTRACE_DETACH, pid, 0); errno != 0 {
					return errno
				}
				return nil
			}
		}
		if event != 0 {
			signal = 0 // of tracing itself
		}
		ptrace(unix.PTRACE_CONT, tid, signal) // it may have ended
	}
}

func ptrace(request, tid, data int) unix.Errno {
	_, _, errno := unix.RawSyscall6(unix.SYS_PTRACE, uintptr(request), uintptr(tid), 0, uintptr(data), 0, 0)
	return errno
}
