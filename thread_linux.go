//go:build !autorestart_portable

// What an exec takes from the calling thread, and the CPU time of a thread.
//
//	call                       since    without it
//	PR_GET_PDEATHSIG           2.3.15   -
//	sched_setattr(2)           3.14     the new image has the scheduling of the calling thread
//	ioprio_set(2)              2.6.13   the same for its I/O priority
//	sched_setaffinity(2)       2.5.8    -

package autorestart

import (
	"runtime"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/reap"
)

// parentDeathSignal is the signal that this process gets when its parent dies, 0 for
// none: PR_GET_PDEATHSIG in prctl(2). Each thread has its own, new threads begin
// without, and only a thread itself can ask: here, before main, the first thread.
var parentDeathSignal = func() (sig int32) {
	unix.RawSyscall(unix.SYS_PRCTL, unix.PR_GET_PDEATHSIG, uintptr(unsafe.Pointer(&sig)), 0)
	return sig
}()

// asLeader calls f on a thread that has the first thread's attributes that Linux keeps for
// each thread and that an exec takes from the calling one: the parent-death signal, and the
// scheduling that renice(1), chrt(1), ionice(1) and taskset(1) change for the first thread
// alone. What the kernel doesn't allow stays as it is. A thread that was given attributes
// ends when f returns: a process without rights could not undo all of them, as a nice value.
func asLeader(f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	leaders := attributesOf(unix.Getpid())
	leaders.parentDeath = parentDeathSignal
	if unix.Gettid() == unix.Getpid() || attributesOf(0) == leaders {
		return f()
	}
	failed := make(chan error)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			defer runtime.UnlockOSThread()
		}
		leaders.apply()
		failed <- f()
	}()
	return <-failed
}

// prestartThread has the runtime start the thread that it needs as soon as a goroutine is
// locked to one, as by asLeader. That takes 100 us, and is not started before there
// is a sign of a new version: until then the process has no use for it.
var prestartThread = sync.OnceFunc(func() {
	runtime.LockOSThread()
	runtime.UnlockOSThread()
})

// threadAttributes belong to one thread.
type threadAttributes struct {
	attr        unix.SchedAttr // of sched_setattr(2); its Size is 0 where that is missing
	cpus        unix.CPUSet
	io          uintptr // of ioprio_set(2)
	parentDeath int32   // can't be asked of another thread
}

const ioprioWhoProcess = 1 // a thread, in spite of its name

// The errors of these calls change nothing: an attribute that can't be had stays.

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
	if a.io>>13 != 0 { // a class was set
		unix.RawSyscall(unix.SYS_IOPRIO_SET, ioprioWhoProcess, 0, a.io)
	}
	unix.RawSyscall(unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(a.parentDeath), 0)
}

// CPUTime reads CLOCK_THREAD_CPUTIME_ID.
func (*childTable) CPUTime() time.Duration {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t) != nil {
		return reap.Unsupported{}.CPUTime()
	}
	return time.Duration(t.Nano())
}
