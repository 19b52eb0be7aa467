package reap

import (
	"errors"
	"os"
	"syscall"
	"time"
)

// Unsupported is the Table of a system that can do nothing of all this. Tables of
// other systems embed it and add what they can do.
type Unsupported struct{}

func unsupported(call string) error { return os.NewSyscallError(call, errors.ErrUnsupported) }

// PeekAny returns an error.
func (Unsupported) PeekAny() (int, State, error) { return 0, NotOurs, unsupported("waitid") }

// Peek returns an error.
func (Unsupported) Peek(int) (State, error) { return NotOurs, unsupported("waitid") }

// PeekDescriptor returns an error.
func (Unsupported) PeekDescriptor(int) (int, error) { return 0, unsupported("waitid") }

// Kin returns Child.
func (Unsupported) Kin(int) Kin { return Child }

// Wait returns an error.
func (Unsupported) Wait(int, *Exit) (State, error) { return NotOurs, unsupported("wait4") }

// WaitAny returns an error.
func (Unsupported) WaitAny(*Exit) (State, error) { return NotOurs, unsupported("wait4") }

// Kill returns an error.
func (Unsupported) Kill(int, syscall.Signal) error { return unsupported("kill") }

// Open returns an error.
func (Unsupported) Open(int) (Pidfd, error) { return nil, unsupported("pidfd_open") }

// NewPoller returns an error.
func (Unsupported) NewPoller() (Poller, error) { return nil, unsupported("epoll_create") }

// NotifyExits returns a channel that never receives.
func (Unsupported) NotifyExits() (<-chan os.Signal, func()) { return nil, func() {} }

// OwnNumbers returns false.
func (Unsupported) OwnNumbers() bool { return false }

// Stat returns an error.
func (Unsupported) Stat(int) (Stat, error) { return Stat{}, errors.ErrUnsupported }

// Args returns an error.
func (Unsupported) Args(int) ([]string, error) { return nil, errors.ErrUnsupported }

// PIDs returns an error.
func (Unsupported) PIDs() ([]int, error) { return nil, errors.ErrUnsupported }

// Threads returns an error.
func (Unsupported) Threads() ([]int, error) { return nil, errors.ErrUnsupported }

// ThreadStart returns an error.
func (Unsupported) ThreadStart(int) (uint64, error) { return 0, errors.ErrUnsupported }

// ChildrenOf returns an error.
func (Unsupported) ChildrenOf(int) ([]int, error) { return nil, errors.ErrUnsupported }

// FirstChildrenOf returns an error.
func (Unsupported) FirstChildrenOf(int) ([]int, error) { return nil, errors.ErrUnsupported }

// Session returns an error.
func (Unsupported) Session(int) (int, error) { return 0, unsupported("getsid") }

// Now returns 0.
func (Unsupported) Now() uint64 { return 0 }

// Time returns the zero Time.
func (Unsupported) Time(uint64) time.Time { return time.Time{} }

// PID returns the PID of this process.
func (Unsupported) PID() int { return os.Getpid() }

// NewestPID returns an error.
func (Unsupported) NewestPID() (int, error) { return 0, unsupported("gettid") }

// OpenFilesLimit returns an error.
func (Unsupported) OpenFilesLimit() (soft, hard uint64, err error) {
	return 0, 0, unsupported("getrlimit")
}

// DescriptorsEnd returns an error.
func (Unsupported) DescriptorsEnd() (int, error) { return 0, errors.ErrUnsupported }

// CPUTime returns the time.
func (Unsupported) CPUTime() time.Duration { return time.Duration(time.Now().UnixNano()) }

// StartedByPidfd returns false.
func (Unsupported) StartedByPidfd() bool { return false }

// Subreaper returns an error.
func (Unsupported) Subreaper() (bool, error) { return false, unsupported("prctl") }

// SetSubreaper returns an error.
func (Unsupported) SetSubreaper(bool) error { return unsupported("prctl") }

// ContinueSignal returns 0.
func (Unsupported) ContinueSignal() syscall.Signal { return 0 }
