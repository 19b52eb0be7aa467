//go:build !autorestart_portable

// Replacing the image.
//
//	call                  since    without it
//	execve(2)             ever     -
//	prlimit(2)            2.6.36   -
//
// What execve keeps is told in its man page; what needs care beside it:
//
//   - the soft RLIMIT_NOFILE, which Go raises when it starts: syscall.Exec puts
//     it back, and leaves it there when the exec fails
//   - inotify descriptors, which cross the exec on purpose: closing one that has
//     watches takes up to 22 ms, and that wait would fall into the execve
//   - a fork in another goroutine, which must not pick up what is about to cross

package autorestart

import (
	"errors"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// execImage replaces the image of this process by the file at path. It returns
// only if that failed, and then everything is as it was.
func execImage(path string, args, env []string) error {
	execMu.Lock()
	defer execMu.Unlock()

	before, err := openFilesLimit()
	if err != nil {
		return err
	}
	if nofile.known && before == nofile.raised {
		unix.Prlimit(0, unix.RLIMIT_NOFILE, &nofile.launch, nil)
	}
	// Forks wait for readers of ForkLock: none copies what is about to cross.
	syscall.ForkLock.RLock()
	fds := inotifyFDs.beginHandover()
	h := handover{pid: os.Getpid(), inotify: fds}
	err = syscall.Exec(path, args, append(env, handoverEnv+"="+h.String()))
	inotifyFDs.cancelHandover()
	syscall.ForkLock.RUnlock()

	if after, limitErr := openFilesLimit(); limitErr == nil && after != before {
		nofile.launch, nofile.raised, nofile.known = after, before, true
		unix.Prlimit(0, unix.RLIMIT_NOFILE, &before, nil)
	}
	return &os.PathError{Op: "execve", Path: path, Err: err}
}

var (
	execMu sync.Mutex // one exec at a time; guards nofile

	// nofile is what an exec that failed has shown: the RLIMIT_NOFILE that this
	// process was started with. The runtime has forgotten it by then.
	nofile struct {
		launch, raised unix.Rlimit
		known          bool
	}
)

func openFilesLimit() (limit unix.Rlimit, err error) {
	err = unix.Prlimit(0, unix.RLIMIT_NOFILE, nil, &limit)
	return limit, os.NewSyscallError("prlimit", err)
}

// execTransient reports whether an exec that failed so may succeed soon, with
// nothing changed: somebody is still writing, memory or processes are short,
// the file is missing for a moment.
func execTransient(err error) bool {
	return errors.Is(err, unix.ETXTBSY) || errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.ENOMEM) ||
		errors.Is(err, unix.ENFILE) || errors.Is(err, unix.ENOENT)
}
