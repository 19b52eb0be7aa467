//go:build !autorestart_portable

// Replacing the image.
//
//	call        since    without it
//	execve(2)   ever     -
//	O_PATH      2.6.39   no rollback
//
// What execve keeps is told in its man page. What needs care beside it: the soft
// RLIMIT_NOFILE, see sys.LowerOpenFilesLimit; what belongs to the calling thread, see
// adoptLeader; signals whose default action ends the process, see ignoreSignals; the
// inotify descriptors, which cross on purpose, see eventSet; and a fork in another
// goroutine, which must not inherit them.

package autorestart

import (
	"errors"
	"os"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/candidate"
	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/sys"
)

// selfExe leads to the running image, whatever has become of its path.
const selfExe = "/proc/self/exe"

// execMu has one exec at a time: each changes, for its moment, what the whole process
// shares.
var execMu sync.Mutex

// execImage replaces the image of this process by the candidate: by its path, or if
// exact by its descriptor, which needs /proc. For a version without this library h is
// nil: it would leave open what is handed over, and its children would inherit the
// variable. execImage returns only if the exec failed, and then everything is as it
// was.
func execImage(c *candidate.Candidate, exact bool, args []string, h *handover.State, lastLook func() error) error {
	target := c.Path
	if exact {
		// Not execveat(2): only syscall.Exec keeps the runtime from starting threads.
		fd, err := fileDescriptor(c.File.(*os.File))
		if err != nil {
			return err
		}
		target = "/proc/self/fd/" + strconv.Itoa(fd)
	}
	return execve(target, args, os.Environ(), h, lastLook)
}

// execve executes target unless lastLook, which may be nil, returns an error. Nothing
// that takes time comes between the two.
func execve(target string, args, env []string, h *handover.State, lastLook func() error) error {
	execMu.Lock()
	defer execMu.Unlock()
	defer sys.LowerOpenFilesLimit()()
	defer adoptLeader()()
	// Forks wait for readers of ForkLock: no child inherits what is about to cross.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if h != nil {
		h.Numbers[handover.Inotify], h.Numbers[handover.Watch] = self.events.beginHandover()
		defer self.events.cancelHandover()
		defer ignoreSignals(h.Numbers[handover.Signal])()
	}
	if lastLook != nil {
		if err := lastLook(); err != nil {
			return err
		}
	}
	err := handover.Execute(target, args, env, h)
	return &os.PathError{Op: "execve", Path: target, Err: err}
}

// openPathOnly opens a file, which needn't be readable, in order to execute it later.
// The caller owns the descriptor, which can cross an exec.
func openPathOnly(path string) (*sys.FD, error) {
	return sys.AboveStandard(sys.IgnoringEINTR(func() (int, error) {
		return unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	}))
}

// execTransient reports whether an exec that failed so may succeed soon, with nothing
// changed: the file is open for writing, memory or processes are short, the file is
// missing for a moment.
func execTransient(err error) bool {
	return errors.Is(err, unix.ETXTBSY) || errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.ENOMEM) ||
		errors.Is(err, unix.ENFILE) || errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENOENT)
}
