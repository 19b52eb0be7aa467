//go:build !autorestart_portable

// The trial of a new version. The image that is known to work crosses the exec as a
// descriptor, and is executed by it when the new version fails, whatever is on the
// disk by then. Without /proc there is no rollback, and no version is on trial.

package handover

import (
	"strconv"
	"sync"
	"syscall"
	"time"
)

// CanRollBack says that a version can be rolled back on this system.
const CanRollBack = true

var trial struct {
	mu      sync.Mutex // held while the previous image is executed
	on      bool
	handed  State
	timer   *time.Timer
	env     []string // that this image was executed with
	execute Executor // nil: executeBare
}

// OnRollback has f execute the previous image from now on. A version that hangs
// before this call, as in the initialisation of a package, is rolled back by a bare
// exec.
func OnRollback(f Executor) {
	trial.mu.Lock()
	trial.execute = f
	trial.mu.Unlock()
}

func executeBare(target Target, args, env []string, s *State) error {
	syscall.ForkLock.RLock()
	err := Execute(target, args, env, s)
	syscall.ForkLock.RUnlock()
	return err
}

// rollbackPause is the time between attempts to roll back a version that is not
// ready in time.
const rollbackPause = time.Second

func (s *State) startTrial() {
	ms := s.Number(ReadyWithin)
	if ms == 0 || s.Number(Previous) == 0 {
		return
	}
	t := &trial
	t.mu.Lock()
	t.on, t.handed, t.env = true, *s, syscall.Environ()
	t.timer = time.AfterFunc(time.Duration(ms)*time.Millisecond, func() {
		for RollBack("it was not ready within "+strconv.Itoa(ms)+" ms") != ErrNotOnTrial {
			time.Sleep(rollbackPause) // the obstacle may pass
		}
	})
	t.mu.Unlock()
}

// OnTrial reports whether this image can still be rolled back.
func OnTrial() bool {
	trial.mu.Lock()
	defer trial.mu.Unlock()
	return trial.on
}

// KeepRollback has the next image roll back to the image that this one would roll
// back to. It returns [ErrNotOnTrial] if there is none. The descriptors are copies,
// because this version may become ready before the exec; the caller owns them. An
// error means that the next image would not be on trial.
func (s *State) KeepRollback() (copies []int, err error) {
	t := &trial
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.on {
		return nil, ErrNotOnTrial
	}
	s.Numbers[ReadyWithin] = t.handed.Numbers[ReadyWithin]
	s.InVariable = s.InVariable || t.handed.InVariable
	for _, kind := range [...]NumberKind{Previous, Dir} {
		fd, err := duplicate(t.handed.Number(kind))
		if err != nil {
			return copies, err
		}
		s.Set(kind, fd)
		copies = append(copies, fd)
	}
	return copies, nil
}

// Forget keeps n from crossing back to the previous image.
func Forget(kind NumberKind, n int) {
	t := &trial
	t.mu.Lock()
	defer t.mu.Unlock()
	var kept []int
	for _, other := range t.handed.Numbers[kind] {
		if other != n {
			kept = append(kept, other)
		}
	}
	t.handed.Numbers[kind] = kept
}

// PutBackOnRollback has a rollback put a duplicate of fd at the given number, where the
// previous image had it and looks for it; it is made blocking unless it was nonblocking.
// If this image is on trial, fd belongs to the trial from now on, and is close-on-exec
// until a rollback; it may have the number itself. If not, PutBackOnRollback returns
// false, and the caller still owns fd.
func PutBackOnRollback(fd, number int, nonblocking bool) bool {
	t := &trial
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.on {
		closeOnExec(fd)
		t.handed.putBack = append(t.handed.putBack, putBack{fd, number, nonblocking})
	}
	return t.on
}

// A putBack is a descriptor that a rollback puts at a number.
type putBack struct {
	fd, number  int
	nonblocking bool
}

// do puts the descriptor at its number. After an exec that failed, undo puts what was
// there back.
func (p putBack) do() (undo func(), err error) {
	if p.fd == p.number {
		keepOnExec(p.number)
		return func() { closeOnExec(p.number) }, nil
	}
	closedOnExec := !crossed(p.number)
	before, beforeErr := duplicate(p.number)
	if beforeErr != nil && beforeErr != syscall.EBADF { // nothing is there
		return nil, beforeErr
	}
	undo = func() {
		if !p.nonblocking {
			syscall.SetNonblock(p.fd, true) // as this image uses it
		}
		if beforeErr != nil {
			syscall.Close(p.number)
			return
		}
		syscall.Dup3(before, p.number, 0)
		syscall.Close(before)
		if closedOnExec {
			closeOnExec(p.number)
		}
	}
	if err = syscall.Dup3(p.fd, p.number, 0); err == nil && !p.nonblocking {
		err = syscall.SetNonblock(p.fd, false)
	}
	if err != nil {
		undo()
		return nil, err
	}
	return undo, nil
}

// EndTrial says that this image works: it can't be rolled back any more.
func EndTrial() {
	t := &trial
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.on {
		t.on = false
		t.timer.Stop()
		syscall.Close(t.handed.Number(Previous))
		syscall.Close(t.handed.Number(Dir))
		for _, p := range t.handed.putBack {
			syscall.Close(p.fd)
		}
	}
}

// RollBack executes the previous image. It returns only if that failed, or with
// [ErrNotOnTrial].
func RollBack(reason string) error {
	t := &trial
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.on {
		return ErrNotOnTrial
	}
	s := t.handed
	s.Texts[Failed], s.Texts[Reason] = s.Texts[Image], reason
	s.Texts[Image], s.Texts[Times] = "", ""
	s.Set(Generation, s.Number(Generation)+1)
	s.Numbers[ReadyWithin], s.Numbers[Previous], s.Numbers[Dir] = nil, nil, nil
	execute := t.execute
	if execute == nil {
		execute = executeBare
	}
	here, _ := syscall.Open(".", syscall.O_RDONLY|syscall.O_DIRECTORY|syscall.O_CLOEXEC, 0)
	// Even from another directory the previous image is better than this one.
	syscall.Fchdir(t.handed.Number(Dir))
	err := execute(Target{Path: s.Texts[Path], FD: t.handed.Number(Previous)}, commandLine(), t.env, &s)
	if here > 0 {
		syscall.Fchdir(here)
		syscall.Close(here)
	}
	return err
}

// commandLine returns the arguments of this process. Package os may not be
// initialised yet.
func commandLine() (args []string) {
	fd, err := syscall.Open("/proc/self/cmdline", syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	b := make([]byte, 8<<20) // more than execve(2) takes
	n, _ := syscall.Read(fd, b)
	syscall.Close(fd)
	for line := string(b[:max(n, 0)]); line != ""; {
		var arg string
		arg, line, _ = cut(line, 0)
		args = append(args, arg)
	}
	return args
}
