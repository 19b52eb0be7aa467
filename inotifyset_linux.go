//go:build !autorestart_portable

package autorestart

import (
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/sys"
)

// unclaimedLifetime is how long an image has to claim the descriptors that it was
// handed. A version that no longer watches must not keep a queue that fills.
const unclaimedLifetime = 10 * time.Second

// An eventSet holds the inotify descriptors of a process. They cross the exec with
// their watches, for two reasons: the next image need not make its own, and the execve
// need not wait for the kernel to take the watches down.
type eventSet struct {
	mu  sync.Mutex
	all []inotifyFD
}

type inotifyFD struct {
	fd        int
	watches   []int
	unclaimed *sys.FD // nil once a source owns the descriptor
}

// newEvents takes over the inotify descriptors that the previous image has handed over,
// and their watches as pairs of a descriptor and a watch descriptor.
func newEvents(handed, watches []int) *eventSet {
	s := new(eventSet)
	for _, fd := range handed {
		// The empty path is looked at only after the descriptor has been found good.
		if _, err := unix.InotifyAddWatch(fd, "", stepEvents); err == unix.ENOENT {
			s.all = append(s.all, inotifyFD{fd: fd, unclaimed: sys.NewFD(fd)})
		}
	}
	for ; len(watches) > 1; watches = watches[2:] {
		if own := s.find(watches[0]); own != nil {
			own.watches = append(own.watches, watches[1])
		}
	}
	if s.all != nil {
		time.AfterFunc(unclaimedLifetime, s.closeUnclaimed)
	}
	return s
}

// find is called with s locked, as remove is.
func (s *eventSet) find(fd int) *inotifyFD {
	for i := range s.all {
		if s.all[i].fd == fd {
			return &s.all[i]
		}
	}
	return nil
}

func (s *eventSet) remove(own *inotifyFD) {
	last := len(s.all) - 1
	*own = s.all[last]
	s.all = s.all[:last]
}

// take returns a descriptor, which the caller owns and must [eventSet.forget] before
// it closes it, and the watches that it has.
func (s *eventSet) take() (fd *sys.FD, watches []int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.all {
		if own := &s.all[i]; own.unclaimed != nil {
			fd, own.unclaimed = own.unclaimed, nil
			return fd, own.watches, nil
		}
	}
	fd, err = sys.AboveStandard(unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK))
	if err != nil {
		return nil, nil, os.NewSyscallError("inotify_init1", limitError(err))
	}
	s.all = append(s.all, inotifyFD{fd: fd.Int()})
	return fd, nil, nil
}

// note notes the watches of a descriptor.
func (s *eventSet) note(fd int, watches []int) {
	s.mu.Lock()
	s.find(fd).watches = watches
	s.mu.Unlock()
}

func (s *eventSet) forget(fd int) {
	s.mu.Lock()
	if own := s.find(fd); own != nil {
		s.remove(own)
	}
	s.mu.Unlock()
}

func (s *eventSet) closeUnclaimed() {
	s.mu.Lock()
	for i := len(s.all) - 1; i >= 0; i-- {
		if own := &s.all[i]; own.unclaimed != nil {
			own.unclaimed.Close()
			s.remove(own)
		}
	}
	s.mu.Unlock()
}

// beginHandover returns the descriptors that are to cross the coming exec, and their
// watches as pairs. None can be closed until [eventSet.cancelHandover], which only an
// exec that failed needs.
func (s *eventSet) beginHandover() (fds, watches []int) {
	s.mu.Lock()
	for i := range s.all {
		own := &s.all[i]
		fds = append(fds, own.fd)
		for _, wd := range own.watches {
			watches = append(watches, own.fd, wd)
		}
	}
	return fds, watches
}

func (s *eventSet) cancelHandover() { s.mu.Unlock() }

// A limitReached is an errno of inotify(7) with the limits that it is about.
type limitReached struct {
	syscall.Errno
	limits string
}

func (e limitReached) Error() string { return e.Errno.Error() + ", raise " + e.limits }
func (e limitReached) Unwrap() error { return e.Errno }

func limitError(err error) error {
	switch err {
	case unix.EMFILE:
		return limitReached{unix.EMFILE, "fs.inotify.max_user_instances by sysctl, or the limit of open files"}
	case unix.ENOSPC:
		return limitReached{unix.ENOSPC, "fs.inotify.max_user_watches by sysctl"}
	}
	return err
}
