//go:build !autorestart_portable

// The way back: the image that is known to work crosses the exec as a descriptor,
// and is executed by it, whatever is on the disk by then. Without /proc there is
// no way back, and nobody is put on probation.

package handover

import (
	"errors"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// CanReturn says that a version can be taken back on this system.
const CanReturn = true

// ErrNoRollback answers who wants to go back where there is nothing to go back
// to, or not any more.
var ErrNoRollback = errors.New("autorestart: this version is not on probation")

// Back executes target, the image before this one, as [Execute] does. The root
// package puts a more careful function in its place; what hangs before that is
// taken back by this one.
var Back = func(target string, args, env []string, h *Handover) error {
	syscall.ForkLock.RLock()
	err := Execute(target, args, env, h)
	syscall.ForkLock.RUnlock()
	return err
}

var probation struct {
	mu     sync.Mutex // held while the previous image is executed
	on     bool
	handed Handover
	timer  *time.Timer
	env    []string // that this image was executed with
}

// returnPause is between attempts to take back what is not ready in time.
const returnPause = time.Second

func (h *Handover) startProbation() {
	ms := h.Number(ReadyWithin)
	if ms == 0 || h.Number(Previous) == 0 {
		return
	}
	p := &probation
	p.mu.Lock()
	p.on, p.handed, p.env = true, *h, syscall.Environ()
	p.timer = time.AfterFunc(time.Duration(ms)*time.Millisecond, func() {
		for Return("it was not ready within "+strconv.Itoa(ms)+" ms") != ErrNoRollback {
			time.Sleep(returnPause) // what was in the way may pass
		}
	})
	p.mu.Unlock()
}

// OnProbation reports whether this image can still be taken back.
func OnProbation() bool {
	p := &probation
	p.mu.Lock()
	on := p.on
	p.mu.Unlock()
	return on
}

// KeepWayBack has the next image return to the one that this could return to. It
// answers ErrNoRollback if that is none. The descriptors are copies: this version may
// be ready before the exec. Without them the next would not be on probation, and
// nobody would know.
func (h *Handover) KeepWayBack() error {
	p := &probation
	p.mu.Lock()
	err := ErrNoRollback
	if p.on {
		err = nil
		h.Numbers[ReadyWithin] = p.handed.Numbers[ReadyWithin]
		for _, kind := range [...]int{Previous, Dir} {
			var fd int
			if fd, err = Duplicate(p.handed.Number(kind)); err != nil {
				break
			}
			h.Set(kind, fd)
			h.Temporary = append(h.Temporary, fd)
		}
	}
	p.mu.Unlock()
	return err
}

// Duplicate returns another descriptor, close-on-exec and never that of a standard stream.
func Duplicate(fd int) (int, error) {
	dup, _, errno := syscall.Syscall(syscall.SYS_FCNTL, uintptr(fd), syscall.F_DUPFD_CLOEXEC, 3)
	if errno != 0 {
		return -1, errno
	}
	return int(dup), nil
}

// Forget has n not go back to the image before.
func Forget(kind, n int) {
	p := &probation
	p.mu.Lock()
	defer p.mu.Unlock()
	var kept []int
	for _, other := range p.handed.Numbers[kind] {
		if other != n {
			kept = append(kept, other)
		}
	}
	p.handed.Numbers[kind] = kept
}

// EndProbation says that this image works.
func EndProbation() {
	p := &probation
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.on {
		p.on = false
		p.timer.Stop()
		syscall.Close(p.handed.Number(Previous))
		syscall.Close(p.handed.Number(Dir))
	}
}

// Return executes the previous image. It comes back only if that failed, or if
// this one is not on probation, with [ErrNoRollback].
func Return(reason string) error {
	p := &probation
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.on {
		return ErrNoRollback
	}
	h := p.handed
	h.Texts[Failed], h.Texts[Reason] = h.Texts[Image], reason
	h.Texts[Image], h.Texts[Times] = "", ""
	h.Set(Generation, h.Number(Generation)+1)
	h.Numbers[ReadyWithin], h.Numbers[Previous], h.Numbers[Dir] = nil, nil, nil
	here, _ := syscall.Open(".", syscall.O_RDONLY|syscall.O_DIRECTORY|syscall.O_CLOEXEC, 0)
	syscall.Fchdir(p.handed.Number(Dir))
	err := Back("/proc/self/fd/"+strconv.Itoa(p.handed.Number(Previous)), commandLine(), p.env, &h)
	if here > 0 {
		syscall.Fchdir(here)
		syscall.Close(here)
	}
	return err
}

// commandLine returns the arguments of this process. Package os may not be there
// yet.
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
