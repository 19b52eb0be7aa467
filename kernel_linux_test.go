//go:build !autorestart_portable

package autorestart

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart/internal/sys"
	"golang.org/x/sys/unix"
)

// TestIgnoreSignals: signals are ignored for the time of the exec, but the exits of
// children are not thrown away.
func TestIgnoreSignals(t *testing.T) {
	handler := func(sig syscall.Signal) uintptr {
		var action sigaction
		if err := rtSigaction(int(sig), nil, &action); err != nil {
			t.Fatal(err)
		}
		return *action.handler()
	}
	usr1, chld := handler(syscall.SIGUSR1), handler(syscall.SIGCHLD)
	restore := ignoreSignals([]int{int(syscall.SIGCHLD), int(syscall.SIGUSR1)})
	during := [...]uintptr{handler(syscall.SIGUSR1), handler(syscall.SIGCHLD)}
	restore()
	if during != [...]uintptr{sigIgnore, chld} {
		t.Errorf("during the exec SIGUSR1 has %#x, SIGCHLD %#x", during[0], during[1])
	}
	if handler(syscall.SIGUSR1) != usr1 || handler(syscall.SIGCHLD) != chld {
		t.Error("the handlers are not restored")
	}
}

// TestOpenForWriting: complete or not, a file that another process may still write has to
// wait.
func TestOpenForWriting(t *testing.T) {
	path := writeProgram(t, 0o755)
	rules := self.newRules(false)
	defer rules.Close()
	c := openCandidate(t, path)
	fd := c.File.(*os.File).Fd()
	if _, err := unix.FcntlInt(fd, unix.F_SETLEASE, unix.F_RDLCK); err == unix.EINVAL {
		t.Skip("no leases on this file system")
	}
	if _, err := unix.FcntlInt(fd, unix.F_SETLEASE, unix.F_UNLCK); err != nil {
		t.Fatal(err)
	}
	for _, flag := range []int{os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_APPEND} {
		writer, err := os.OpenFile(path, flag, 0)
		if err != nil {
			t.Fatal(err)
		}
		if r := rules.Judge(c); r == nil || !r.Retryable || r.Found != "a file open for writing" {
			t.Errorf("open with %#x: %v", flag, r)
		}
		writer.Close()
		// A child that is just being forked may hold the writer a moment longer.
		r := rules.Judge(c)
		for deadline := time.Now().Add(10 * time.Second); r != nil && time.Now().Before(deadline); {
			r = rules.Judge(c)
		}
		if r != nil {
			t.Errorf("closed again: %v", r)
		}
	}
	// Looking leaves no lease behind, on which the next writer would wait.
	if lease, err := unix.FcntlInt(fd, unix.F_GETLEASE, 0); err != nil || lease != unix.F_UNLCK {
		t.Errorf("lease %d, %v", lease, err)
	}
	reader, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if r := rules.Judge(c); r != nil {
		t.Errorf("open for reading elsewhere: %v", r)
	}
}

// TestInotifyTakeOver: only inotify instances are taken over; any other descriptor of such
// a number belongs to other code.
func TestInotifyTakeOver(t *testing.T) {
	good, err := unix.InotifyInit1(unix.IN_NONBLOCK) // crossed an exec: not close-on-exec
	if err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	if _, err := unix.InotifyAddWatch(good, dir, fileEvents); err != nil {
		t.Fatal(err)
	}
	file, err := unix.Open(filepath.Join(dir, "x"), unix.O_CREAT|unix.O_RDWR, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(file)
	var pipe [2]int
	if err := unix.Pipe(pipe[:]); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pipe[0])
	defer unix.Close(pipe[1])
	gone, err := unix.Dup(file)
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(gone)

	s := newEvents([]int{file, pipe[0], pipe[1], gone, 1 << 30, good}, []int{good, 1})
	if len(s.all) != 1 || s.all[0].fd != good || s.all[0].unclaimed == nil {
		t.Fatalf("took over %+v of file %d, pipe %v, closed %d, inotify %d", s.all, file, pipe, gone, good)
	}
	closeOnExec := func(fd int) bool {
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if err != nil {
			t.Fatalf("descriptor %d: %v", fd, err)
		}
		return flags&unix.FD_CLOEXEC != 0
	}
	if !closeOnExec(good) {
		t.Error("the descriptor taken over is left to children")
	}
	for _, fd := range []int{file, pipe[0], pipe[1]} {
		if closeOnExec(fd) {
			t.Errorf("descriptor %d was changed", fd)
		}
	}

	// The unclaimed one is used before another is made.
	fd, watches, err := s.take()
	if err != nil || fd.Int() != good || !slices.Equal(watches, []int{1}) {
		t.Fatalf("took %v with watches %v, %v; want %d with 1", fd, watches, err, good)
	}
	made, watches, err := s.take()
	if err != nil {
		t.Fatal(err)
	}
	second := made.Int()
	if len(watches) > 0 || second == good || !closeOnExec(second) {
		t.Fatalf("took %d with watches %v", second, watches)
	}
	s.closeUnclaimed() // nothing is left unclaimed

	// Across an exec that fails.
	s.note(second, []watchedStep{{wd: 4}, {wd: 5}, {wd: 4}})
	all, handed := s.beginHandover()
	slices.Sort(all)
	if !slices.Equal(all, []int{good, second}) || !slices.Equal(handed, []int{good, 1, second, 4, second, 5}) &&
		!slices.Equal(handed, []int{second, 4, second, 5, good, 1}) {
		t.Errorf("handed over %v with %v, want %v", all, handed, []int{good, second})
	}
	for _, fd := range []int{good, second} {
		unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0) // as the exec does
	}
	s.cancelHandover()
	if !closeOnExec(good) || !closeOnExec(second) {
		t.Error("left to children after the exec failed")
	}

	s.forget(good)
	s.forget(good)
	unix.Close(good)
	if all, watches := s.beginHandover(); len(watches) != 4 || !slices.Equal(all, []int{second}) {
		t.Errorf("handed over %v, want %v", all, []int{second})
	}
	s.cancelHandover()
	s.forget(second)
	unix.Close(second)
}

// TestInotifyCloseUnclaimed: descriptors that are not claimed are closed.
func TestInotifyCloseUnclaimed(t *testing.T) {
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		t.Skip(err)
	}
	s := &eventSet{all: []inotifyFD{{fd: fd, watches: []int{1}, unclaimed: sys.NewFD(fd)}}}
	s.closeUnclaimed()
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != unix.EBADF {
		t.Errorf("descriptor %d: %v, want %v", fd, err, unix.EBADF)
	}
	s.closeUnclaimed()
}

// TestInotifyAdopted: a watch that crossed an exec is used again, with what
// was queued meanwhile.
func TestInotifyAdopted(t *testing.T) {
	root := newTree(t, "app", "old/", "old/app")
	path := filepath.Join(root, "app")
	n := openInotify(t)
	if _, err := n.Arm(filepath.Join(root, "old/app")); err != n.silent {
		t.Fatal(err)
	}
	if _, err := n.Arm(path); err != n.silent {
		t.Fatal(err)
	}
	before := slices.Clone(n.steps)
	touch(t, path)

	n.steps = nil // what the next image knows
	if changed, err := n.Arm(path); err != n.silent || !changed {
		t.Errorf("arm: %t, %v", changed, err)
	}
	if !slices.Equal(n.steps, before) {
		t.Errorf("watches %v, before %v", n.steps, before)
	}
	if event, err := n.Wait(context.Background(), 10*time.Second); !event || err != nil {
		t.Errorf("the event before: %t, %v", event, err)
	}
	checkWatches(t, n, path)
}

func TestSilentDirectory(t *testing.T) {
	if err := silentDirectory("/proc"); err != nil {
		t.Errorf("proc: %v", err)
	}
	if err := silentDirectory(t.TempDir() + "/gone"); err != nil {
		t.Errorf("gone: %v", err)
	}
}
