//go:build !autorestart_portable

// Replacing the image.
//
//	call                  since    without it
//	execve(2)             ever     -
//
// What execve keeps is told in its man page. What needs care beside it: the soft
// RLIMIT_NOFILE, see lowerOpenFilesLimit; what belongs to the calling thread, see
// becomeLeader; the inotify descriptors, which cross on purpose, see
// processEvents; and a fork in another goroutine, which must not pick them up on
// the way.

package autorestart

import (
	"errors"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/candidate"
	"github.com/autorestart-go/autorestart/internal/handover"
)

// execImage replaces the image of this process by the candidate: by its path, or
// if exact by its descriptor, which needs /proc. A version without this library
// would leave open what is handed over, and the variable to its children: for that,
// h is nil. It returns only if that failed, and then everything is as it was.
func execImage(c *candidate.Candidate, exact bool, h *handover.Handover, lastLook func() error) error {
	target := c.Path
	if exact {
		// Not execveat(2): only syscall.Exec keeps the runtime from starting threads.
		fd, err := fileDescriptor(c.File.(*os.File))
		if err != nil {
			return err
		}
		target = "/proc/self/fd/" + strconv.Itoa(fd)
	}
	return execve(target, launch.args, os.Environ(), h, lastLook)
}

// execve executes target, unless the last look right before that fails; nil is none. It
// has no deferred calls, since each costs as much space as the call itself, and
// nothing here panics.
func execve(target string, args, env []string, h *handover.Handover, lastLook func() error) (err error) {
	execMu.Lock()
	restoreLimit := lowerOpenFilesLimit()
	follow := becomeLeader()
	// Forks wait for readers of ForkLock: none copies what is about to cross.
	syscall.ForkLock.RLock()
	var listen func()
	if h != nil {
		h.Numbers[handover.Inotify], h.Numbers[handover.Watch] = processEvents.beginHandover()
		if h.Quieten != nil {
			listen = h.Quieten(h.Numbers[handover.Signal])
		}
	}
	// Nothing that takes time comes between the last look and the exec.
	if lastLook != nil {
		err = lastLook()
	}
	if err == nil {
		err = handover.Execute(target, args, env, h)
		err = &os.PathError{Op: "execve", Path: target, Err: err}
	}
	if listen != nil {
		listen()
	}
	if h != nil {
		processEvents.cancelHandover()
	}
	syscall.ForkLock.RUnlock()
	follow()
	restoreLimit()
	execMu.Unlock()
	return err
}

// openPathOnly opens a file that needn't be readable, to execute it later.
func openPathOnly(path string) (fd int, err error) {
	fd, err = ignoringEINTR(func() (int, error) { return unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0) })
	return aboveStandard(fd, err)
}

// aboveStandard moves a new descriptor to where it can cross an exec, if it is where a
// standard stream should be: the program may have closed that.
func aboveStandard(fd int, err error) (int, error) {
	if err != nil || fd > 2 {
		return fd, err
	}
	above, err := handover.Duplicate(fd)
	closeDescriptor(fd)
	return above, err
}

// execTransient reports whether an exec that failed so may succeed soon, with
// nothing changed: somebody is still writing, memory or processes are short,
// the file is missing for a moment.
func execTransient(err error) bool {
	return errors.Is(err, unix.ETXTBSY) || errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.ENOMEM) ||
		errors.Is(err, unix.ENFILE) || errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENOENT)
}
