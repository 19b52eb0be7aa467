//go:build !autorestart_portable

// Replacing the image.
//
//	call                  since    without it
//	execve(2)             ever     -
//
// What execve keeps is told in its man page. What needs care beside it: the soft
// RLIMIT_NOFILE, see lowerOpenFilesLimit; what belongs to the calling thread, see
// becomeLeader; the inotify descriptors, which cross on purpose, see
// inotifyFDs; and a fork in another goroutine, which must not pick them up on
// the way.

package autorestart

import (
	"errors"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// execImage replaces the image of this process by the candidate: by its path, or
// if exact by its descriptor, which needs /proc. It returns only if that failed,
// and then everything is as it was.
func execImage(c *candidate, exact bool, args, env []string) error {
	execMu.Lock()
	defer execMu.Unlock()
	defer lowerOpenFilesLimit()()
	defer becomeLeader()()

	h := handover{pid: os.Getpid()}
	target := c.path
	if exact {
		// Not execveat(2): only syscall.Exec keeps the runtime from starting threads.
		fd, err := fileDescriptor(c.file)
		if err != nil {
			return err
		}
		target = "/proc/self/fd/" + strconv.Itoa(fd)
		h.path = c.path
	}
	// Forks wait for readers of ForkLock: none copies what is about to cross.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	// A version without this library would leave the descriptors open, and the
	// variable to its children.
	if !c.build.foreign {
		h.inotify, h.watches = inotifyFDs.beginHandover()
		defer inotifyFDs.cancelHandover()
		env = append(env, handoverEnv+"="+h.String())
	}
	err := syscall.Exec(target, args, env)
	return &os.PathError{Op: "execve", Path: target, Err: err}
}

// execTransient reports whether an exec that failed so may succeed soon, with
// nothing changed: somebody is still writing, memory or processes are short,
// the file is missing for a moment.
func execTransient(err error) bool {
	return errors.Is(err, unix.ETXTBSY) || errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.ENOMEM) ||
		errors.Is(err, unix.ENFILE) || errors.Is(err, unix.ENOENT)
}
