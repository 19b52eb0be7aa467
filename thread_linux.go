//go:build !autorestart_portable

package autorestart

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// parentDeathSignal is what this process is sent when its parent dies, 0 for
// nothing: PR_GET_PDEATHSIG in prctl(2). It is each thread's own, new ones begin
// without, and only a thread itself can ask, as here, before main, the first.
var parentDeathSignal = func() (sig int32) {
	unix.RawSyscall(unix.SYS_PRCTL, unix.PR_GET_PDEATHSIG, uintptr(unsafe.Pointer(&sig)), 0)
	return sig
}()

// becomeLeader gives the calling thread, until it is undone, what is each
// thread's own on Linux and what an exec would take from it and not from the
// first: the parent-death signal, and the scheduling that renice(1), chrt(1),
// ionice(1) and taskset(1) change for the first thread alone. What the kernel
// doesn't allow stays as it is.
func becomeLeader() (undo func()) {
	runtime.LockOSThread()
	if unix.Gettid() == unix.Getpid() {
		return runtime.UnlockOSThread
	}
	mine := attributesOf(0)
	leaders := attributesOf(unix.Getpid())
	leaders.parentDeath = parentDeathSignal
	leaders.apply()
	return func() {
		mine.apply()
		runtime.UnlockOSThread()
	}
}

// threadAttributes are a thread's own.
type threadAttributes struct {
	attr        unix.SchedAttr // of sched_setattr(2), Linux 3.14; empty without it
	cpus        unix.CPUSet
	io          uintptr // of ioprio_set(2)
	parentDeath int32   // no other thread's can be asked for
}

const ioprioWhoProcess = 1 // a thread, in spite of its name

// The calls are made by hand: the functions of package unix make errors of what
// nobody looks at here, in every program.

func attributesOf(tid int) (a threadAttributes) {
	unix.RawSyscall6(unix.SYS_SCHED_GETATTR, uintptr(tid), uintptr(unsafe.Pointer(&a.attr)), unsafe.Sizeof(a.attr), 0, 0, 0)
	unix.RawSyscall(unix.SYS_SCHED_GETAFFINITY, uintptr(tid), unsafe.Sizeof(a.cpus), uintptr(unsafe.Pointer(&a.cpus)))
	a.io, _, _ = unix.RawSyscall(unix.SYS_IOPRIO_GET, ioprioWhoProcess, uintptr(tid), 0)
	return a
}

func (a *threadAttributes) apply() {
	if a.attr.Size > 0 {
		unix.RawSyscall(unix.SYS_SCHED_SETATTR, 0, uintptr(unsafe.Pointer(&a.attr)), 0)
	}
	unix.RawSyscall(unix.SYS_SCHED_SETAFFINITY, 0, unsafe.Sizeof(a.cpus), uintptr(unsafe.Pointer(&a.cpus)))
	if a.io>>13 != 0 { // a class has been set
		unix.RawSyscall(unix.SYS_IOPRIO_SET, ioprioWhoProcess, 0, a.io)
	}
	unix.RawSyscall(unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(a.parentDeath), 0)
}
