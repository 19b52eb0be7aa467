// Package execve wraps execve(2), with what the kernel takes from the calling thread and from
// the process, beside the program, its arguments and its environment:
//
//	of                 what                                    see
//	thread             namespaces, rights, scheduling, ...     leader_linux.go: [AsLeader]
//	thread             signal mask                             signals_linux.go
//	process            signals, timers                         signals_linux.go
//	process            RLIMIT_NOFILE, which the runtime sets   nofile_linux.go, nofile_other.go
//	process            RLIMIT_STACK: the length of arguments   arguments.go: [CheckSize]
//	                   and environment
//
// The next image has to know of some of this, see [Kept]. The caller carries that to the
// next image. The caller is also responsible for descriptors and the working directory.
//
// Package internal/handover calls this package, and is initialised before package os.
// Therefore this package is initialised before package os, too.
package execve

import (
	"errors"
	"syscall"
)

// ErrNoThread says that no thread was found that may execute. Only Linux tells.
var ErrNoThread = errors.New("no thread has the rights and namespaces of the main one")

// Kept is what an exec keeps beyond the start of the next image.
type Kept struct {
	Subscribed []int // signals that are ignored until the next image subscribes, or calls [StopIgnoring]
	Ignored    []int // signals that were ignored when the process was started, as by nohup(1)
	OpenFiles  int   // the soft RLIMIT_NOFILE that stays in force; 0 if the runtime may raise it
}

// Keep returns what an exec now keeps. The program has subscribed to the signals.
func Keep(subscribed []int) *Kept {
	return &Kept{subscribed, ignoredAtStart, limitToKeep()}
}

// Take takes over, in the next image, what was kept.
func (k *Kept) Take() {
	keepLimit(k.OpenFiles)
	k.endWindow()
}

// Execute executes the file at the path. k is what the next image gets, or nil for a version
// without this library. last is called right before the system call, as the last step; it must not
// allocate memory, and makes raw system calls only. Execute returns only if that failed. Then
// everything is as it was.
func Execute(path string, args, env []string, k *Kept, last func()) error {
	defer k.prepareSignals()()
	for {
		if err := execute(path, args, env, last); err != syscall.EINTR {
			return err
		}
	}
}
