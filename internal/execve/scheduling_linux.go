//go:build !autorestart_portable

// The scheduling of a thread.
//
// A seccomp filter may end the process at a call that sets it, see filter_linux.go: systemd's
// SystemCallFilter=~@resources does. Then the thread keeps what it has.
//
//	call                       since    without it
//	sched_setattr(2)           3.14     the new image has the scheduling of the calling thread
//	ioprio_set(2)              2.6.13   the same for its I/O priority
//	sched_setaffinity(2)       2.5.8    -

package execve

import (
	"syscall"
	"unsafe"

	"github.com/autorestart-go/autorestart/internal/rawsys"
)

// scheduling is what renice(1), chrt(1), ionice(1) and taskset(1) change for the main thread
// alone.
type scheduling struct {
	attr schedAttr // its size is 0 where that is missing
	cpus [1024 / 64]uint64
	io   uintptr // of ioprio_set(2)
}

// schedAttr is struct sched_attr, of sched_setattr(2).
type schedAttr struct {
	size, policy              uint32
	flags                     uint64
	nice                      int32
	priority                  uint32
	runtime, deadline, period uint64
	utilMin, utilMax          uint32
}

const ioprioWhoProcess = 1 // a thread, in spite of its name

// schedulingOf returns that of a thread, 0 for this one.
func schedulingOf(tid int) (s scheduling) {
	syscall.RawSyscall6(rawsys.Numbers.SchedGetattr, uintptr(tid), uintptr(unsafe.Pointer(&s.attr)), unsafe.Sizeof(s.attr), 0, 0, 0)
	syscall.RawSyscall(syscall.SYS_SCHED_GETAFFINITY, uintptr(tid), unsafe.Sizeof(s.cpus), uintptr(unsafe.Pointer(&s.cpus)))
	s.io, _, _ = syscall.RawSyscall(syscall.SYS_IOPRIO_GET, ioprioWhoProcess, uintptr(tid), 0)
	if s.io>>13 == 0 { // no class was set: older kernels return one of two values
		s.io = 0
	}
	return s
}

// A setting is one of the calls that set the scheduling of a thread.
type setting int

const (
	setPolicy setting = iota
	setCPUs
	setIO
	numSettings
)

// differencesTo returns which calls make a thread with the scheduling s like one with want.
func (s *scheduling) differencesTo(want *scheduling) [numSettings]bool {
	return [numSettings]bool{
		setPolicy: want.attr != s.attr && want.attr.size > 0,
		setCPUs:   want.cpus != s.cpus,
		setIO:     want.io != s.io,
	}
}

// hasScheduling reports whether this thread has the scheduling of the main one.
func hasScheduling() bool {
	own, want := schedulingOf(0), schedulingOf(syscall.Getpid())
	return own.differencesTo(&want) == [numSettings]bool{}
}

// adoptScheduling gives this thread the scheduling of the main one, as far as that can be set, and
// reports whether that may have changed it.
func adoptScheduling() (changed bool) {
	calls := schedulingCalls()
	own, want := schedulingOf(0), schedulingOf(syscall.Getpid())
	for what, differs := range own.differencesTo(&want) {
		if differs && !isFatal(calls[what]) {
			want.set(setting(what), calls[what])
			changed = true
		}
	}
	return changed
}

// set gives this thread one setting of s, by the call for it. An error changes nothing: what can't be
// set stays.
func (s *scheduling) set(what setting, call uintptr) {
	switch what {
	case setPolicy:
		syscall.RawSyscall(call, 0, uintptr(unsafe.Pointer(&s.attr)), 0)
	case setCPUs:
		syscall.RawSyscall(call, 0, unsafe.Sizeof(s.cpus), uintptr(unsafe.Pointer(&s.cpus)))
	case setIO:
		syscall.RawSyscall(call, ioprioWhoProcess, 0, s.io)
	}
}

// LosesScheduling reports whether an exec by this thread gives the next image the scheduling of
// another thread than the main one, because a filter ends the process at the call that sets it. It
// is true once.
func LosesScheduling() (loses bool) {
	if !mayBeFiltered() {
		return false
	}
	AsLeader(func() error {
		loses = forbidsScheduling() && !hasScheduling() && !lossReported
		lossReported = lossReported || loses
		return nil
	})
	return loses
}

var lossReported bool

// forbidsScheduling reports whether a filter has ended a child at a call that sets the scheduling.
func forbidsScheduling() bool {
	for _, call := range schedulingCalls() {
		if hasEndedChild(call) {
			return true
		}
	}
	return false
}

func schedulingCalls() [numSettings]uintptr {
	return [numSettings]uintptr{
		setPolicy: rawsys.Numbers.SchedSetattr, setCPUs: syscall.SYS_SCHED_SETAFFINITY, setIO: syscall.SYS_IOPRIO_SET,
	}
}
