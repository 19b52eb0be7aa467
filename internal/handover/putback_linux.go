//go:build !autorestart_portable

package handover

import (
	"syscall"

	"github.com/autorestart-go/autorestart/internal/rawsys"
)

// PutBack has a rollback put a duplicate of fd at the given number, where the
// previous image had it and looks for it; it is made blocking unless it was nonblocking.
// If this image is on trial, fd belongs to the trial from now on, and is close-on-exec
// until a rollback; it may have the number itself. If not, PutBack returns
// false, and the caller still owns fd.
func (t *Trial) PutBack(fd, number int, nonblocking bool) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.phase != 0 {
		rawsys.CloseOnExec(fd)
		t.putBack = append(t.putBack, putBack{fd, number, nonblocking})
	}
	return t.phase != 0
}

// withoutActivation removes from an environment what announces descriptors that a rollback would
// have to put back, see sd_listen_fds(3). Only the version that has taken them can do that.
func withoutActivation(env []string) (kept []string) {
	for _, variable := range env {
		switch name, _, _ := rawsys.Cut(variable, '='); name {
		case "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID":
		default:
			kept = append(kept, variable)
		}
	}
	return kept
}

// A putBack is a descriptor that a rollback puts at a number.
type putBack struct {
	fd, number  int
	nonblocking bool
}

func (p putBack) do() (undo func(), err error) {
	undoMode, err := p.makeBlocking()
	if err != nil {
		return nil, err
	}
	undoNumber, err := p.take()
	if err != nil {
		undoMode()
		return nil, err
	}
	return func() {
		undoNumber()
		undoMode()
	}, nil
}

// makeBlocking makes the descriptor blocking, unless the previous image had it nonblocking.
func (p putBack) makeBlocking() (undo func(), err error) {
	flags, _, errno := syscall.RawSyscall(syscall.SYS_FCNTL, uintptr(p.fd), syscall.F_GETFL, 0)
	switch {
	case errno != 0:
		return nil, errno
	case p.nonblocking || flags&syscall.O_NONBLOCK == 0:
		return func() {}, nil
	}
	// Where it could be cleared the flag can be set.
	return func() { syscall.SetNonblock(p.fd, true) }, syscall.SetNonblock(p.fd, false)
}

// take puts the descriptor at its number.
func (p putBack) take() (undo func(), err error) {
	if p.fd == p.number {
		return inheritance{File, []int{p.number}}.do()
	}
	closedOnExec := !rawsys.Crossed(p.number)
	before, err := rawsys.Duplicate(p.number)
	switch {
	case err == syscall.EBADF: // nothing is there
		undo = func() { syscall.Close(p.number) }
	case err != nil:
		return nil, err
	default:
		undo = func() {
			// It has worked in the other direction.
			duplicateOver(before, p.number)
			if closedOnExec {
				rawsys.CloseOnExec(p.number)
			}
			syscall.Close(before)
		}
	}
	if err = duplicateOver(p.fd, p.number); err != nil {
		undo()
		return nil, err
	}
	return undo, nil
}

// duplicateOver wraps dup3(2). It fails with EBUSY while another thread is about to get the
// number.
func duplicateOver(fd, number int) error {
	for {
		if err := syscall.Dup3(fd, number, 0); err != syscall.EINTR && err != syscall.EBUSY {
			return err
		}
	}
}
