//go:build unix && (!linux || autorestart_portable)

package execve

import (
	"sync"
	"syscall"
)

// nofile is what an exec that failed has shown: the RLIMIT_NOFILE that this process
// was started with, and the one that the runtime had raised it to.
var nofile struct {
	mu             sync.Mutex
	launch, raised syscall.Rlimit
	known          bool
}

// lowerOpenFilesLimit prepares RLIMIT_NOFILE for an exec and returns what undoes
// that if the exec fails. No descriptor may be needed in between: more may be open than
// the lower limit allows. The runtime raises the soft limit when it starts, and
// [syscall.Exec] puts it back; but when the exec fails, it leaves it there and forgets
// what it was.
func lowerOpenFilesLimit() (restore func()) {
	nofile.mu.Lock()
	defer nofile.mu.Unlock()
	before, err := openFilesLimit()
	if err != nil {
		return func() {}
	}
	// Setting a limit fails only where a sandbox forbids it: then the runtime can't have raised
	// it, either.
	if nofile.known && before == nofile.raised {
		syscall.Setrlimit(syscall.RLIMIT_NOFILE, &nofile.launch)
	}
	return func() {
		nofile.mu.Lock()
		defer nofile.mu.Unlock()
		after, err := openFilesLimit()
		if err != nil || after == before {
			return
		}
		nofile.launch, nofile.raised, nofile.known = after, before, true
		syscall.Setrlimit(syscall.RLIMIT_NOFILE, &before)
	}
}

// limitToKeep returns 0: no other process sets limits here.
func limitToKeep() int { return 0 }

// keepLimit does nothing: no image says which one to keep.
func keepLimit(int) {}

// execute wraps [syscall.Exec].
func execute(path string, args, env []string, last func()) error {
	defer lowerOpenFilesLimit()()
	last()
	return syscall.Exec(path, args, env)
}

func openFilesLimit() (limit syscall.Rlimit, err error) {
	err = syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit)
	return limit, err
}
