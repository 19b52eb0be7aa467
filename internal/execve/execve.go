// Package execve wraps execve(2), with what the kernel takes from the process beside the
// program, its arguments and its environment.
//
//	what an exec takes                  see
//	signals, their mask, timers         signals_linux.go
//	RLIMIT_NOFILE                       nofile_linux.go, nofile_other.go
//	arguments and environment: length   arguments.go
//
// Some of it lasts only if the next image knows of it: [Kept]. Its caller, internal/handover,
// carries that to the next image, and is initialised before package os. So is this package.
package execve

import "syscall"

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
// without this library. Execute returns only if that failed. Then everything is as it was.
func Execute(path string, args, env []string, k *Kept) error {
	defer k.prepareSignals()()
	for {
		if err := execute(path, args, env); err != syscall.EINTR {
			return err
		}
	}
}
