//go:build !autorestart_portable

// The attributes of a thread that can be set.
//
//	call                       since    without it
//	PR_GET_PDEATHSIG           2.3.15   -
//	PR_GET_TIMERSLACK          2.6.28   the new image has that of the calling thread
//	sched_setattr(2)           3.14     the same for its scheduling
//	ioprio_set(2)              2.6.13   the same for its I/O priority
//	sched_setaffinity(2)       2.5.8    -

package execve

import (
	"syscall"
	"unsafe"

	"github.com/autorestart-go/autorestart/internal/rawsys"
)

// The errors of these calls change nothing: an attribute that can't be had stays.

// adoptAttributes gives this thread the attributes of the main one, and reports whether it had
// others.
func adoptAttributes() (changed bool) {
	if hasAttributes() {
		return false
	}
	schedulingOf(syscall.Getpid()).apply()
	atStart.apply()
	return true
}

func hasAttributes() bool {
	return schedulingOf(0) == schedulingOf(syscall.Getpid()) && attributes() == atStart
}

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
	return s
}

func (s scheduling) apply() {
	if s.attr.size > 0 {
		syscall.RawSyscall(rawsys.Numbers.SchedSetattr, 0, uintptr(unsafe.Pointer(&s.attr)), 0)
	}
	syscall.RawSyscall(syscall.SYS_SCHED_SETAFFINITY, 0, unsafe.Sizeof(s.cpus), uintptr(unsafe.Pointer(&s.cpus)))
	if s.io>>13 != 0 { // a class was set
		syscall.RawSyscall(syscall.SYS_IOPRIO_SET, ioprioWhoProcess, 0, s.io)
	}
}

// threadAttributes are those that only a thread itself can ask for.
type threadAttributes struct {
	parentDeath int32 // the signal for it, 0 for none
	timerSlack  uintptr
}

// atStart are those of the main thread, before main: packages are initialised on it.
var atStart = attributes()

const (
	setParentDeath, getParentDeath = 1, 2
	setTimerSlack, getTimerSlack   = 29, 30
)

// attributes returns those of this thread.
func attributes() (a threadAttributes) {
	syscall.RawSyscall(syscall.SYS_PRCTL, getParentDeath, uintptr(unsafe.Pointer(&a.parentDeath)), 0)
	a.timerSlack, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, getTimerSlack, 0, 0)
	return a
}

func (a threadAttributes) apply() {
	syscall.RawSyscall(syscall.SYS_PRCTL, setParentDeath, uintptr(a.parentDeath), 0)
	syscall.RawSyscall(syscall.SYS_PRCTL, setTimerSlack, a.timerSlack, 0)
}
