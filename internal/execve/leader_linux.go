//go:build !autorestart_portable

// The thread that executes.
//
// Linux keeps for each thread much of what programs take for the process's own, and an exec
// takes it from the calling thread. The scheduler of Go runs any goroutine on any thread, and a
// goroutine may have changed its thread before: by setns(2), unshare(2), capset(2) or prctl(2),
// between [runtime.LockOSThread] and UnlockOSThread. So the thread of an exec is compared with
// the main one. If it differs, another one is looked for, and kept for later execs. The next
// image, or the previous one in a rollback, gets what the main thread has:
//
//	of the main thread               as it was or is                     if another thread differs
//	namespaces                       when the program began to watch,    it does not execute, unless it
//	                                 see RememberLeader                  can enter them by setns(2)
//	capabilities, no_new_privs       at that time, or when the thread    it gives up what the main one
//	                                 is found                            had not, or does not execute
//	user, groups, seccomp filters,   at that time, or when the thread    it does not execute
//	umask                            is found
//	working directory, root          when the thread is found            it executes if no other can
//	scheduling, CPUs, I/O priority   at the exec                         they are set, unless a seccomp
//	                                                                     filter forbids that
//	timer slack,                     before main                         they are set
//	parent-death signal
//
// The namespaces are not those of the exec: a goroutine that has changed its thread may be on the
// main thread as on any other, and keeps it for good if it ends without UnlockOSThread. A program
// whose main thread is in other namespaces on purpose enters them before it watches.
//
// The rest is that of a thread which few programs change, and which no other thread can ask for:
// keyrings, Landlock domains, personality, NUMA policy, speculation control, security labels,
// cgroups of single threads.
//
//	call                since    without it
//	/proc/thread-self   3.17     namespaces and rights are those of any thread
//	kcmp(2)             3.5      working directory and root are those of any thread
//	setns(2)            3.0      no thread enters namespaces

package execve

import (
	"errors"
	"runtime"
	"sync"
)

// maxThreads is how many threads are tried. The runtime takes those that are idle first, and
// then starts new ones from a thread that no goroutine has run on.
const maxThreads = 32

// executor is a thread that was made like the main one, for a caller whose thread is not. It is
// kept: as no other goroutine runs on it, it stays so. It is not made for nothing, as an exec
// takes 100 us longer for each thread that it has to end.
var executor struct {
	mu      sync.Mutex // held during a call
	calls   chan task  // nil without a thread
	results chan error // of the calls
}

// A task is f, for a thread like the main one, of which main is known.
type task struct {
	main standing
	f    func() error
}

// errNotLikeMain says that f was not called: the thread can't be like the main one any more.
var errNotLikeMain = errors.New("the thread has become another one than the main one")

// AsLeader calls f on a thread from which an exec takes what it should. An error that wraps
// [ErrNoThread] says that there is none at the moment; then f is not called. A thread on which f
// has succeeded goes on existing: a child that f has started may get a signal at its end.
func AsLeader(f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	executor.mu.Lock()
	defer executor.mu.Unlock()
	main, unknown := remember(false)
	if unknown != nil {
		return unknown
	}
	if isLike(main) {
		return f()
	}
	for {
		if executor.calls == nil {
			if different := tryThread(main, maxThreads-1); different != nil {
				return different
			}
		}
		executor.calls <- task{main, f}
		if err := <-executor.results; err != errNotLikeMain {
			return err
		}
	}
}

// PrepareExecutor finds the thread for an exec beforehand, as far as that is possible, and has the
// runtime start the thread that it needs as soon as a goroutine is locked to one. That takes a
// fraction of a millisecond. The error is that of AsLeader.
func PrepareExecutor() error { return AsLeader(func() error { return nil }) }

// tryThread makes another thread the executor, like the main one, of which main is known, or one
// more after it. It returns in what the last one differs from the main thread if none may execute.
func tryThread(main standing, more int) *threadDifference {
	result := make(chan *threadDifference)
	go func() {
		runtime.LockOSThread()
		different, changed := becomeLike(main)
		switch {
		case different == nil, more == 0 && different.tolerable:
			executor.calls, executor.results = make(chan task), make(chan error)
			result <- nil
			serve(changed)
			return
		case more == 0:
			result <- different
		default:
			result <- tryThread(main, more-1) // this thread is taken meanwhile
		}
		if !changed { // or it ends here: not all changes can be undone
			runtime.UnlockOSThread()
		}
	}()
	return <-result
}

// serve makes the calls, and returns when one has failed on a thread that was changed.
func serve(changed bool) {
	calls, results := executor.calls, executor.results
	for first := true; ; first = false {
		c := <-calls
		changed = adoptAttributes() || changed
		err := errNotLikeMain
		if first || !changed || isLike(c.main) {
			err = c.f()
		}
		ends := changed && err != nil
		if ends {
			executor.calls = nil
		}
		results <- err
		if ends {
			return
		}
	}
}
