//go:build !autorestart_portable

// What an exec takes from the calling thread, and what it does to signals.
//
//	call                       since    without it
//	PR_GET_PDEATHSIG           2.3.15   -
//	sched_setattr(2)           3.14     the new image has the scheduling of the calling thread
//	ioprio_set(2)              2.6.13   the same for its I/O priority
//	sched_setaffinity(2)       2.5.8    -
//	rt_sigaction(2)            2.2      -

package autorestart

import (
	"runtime"
	"slices"
	"strings"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
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

// sigaction is the kernel's struct of that name, for Go's purposes: the handler is
// its first word, on MIPS its second. All zero is the default action. Package
// os/signal can't put back what was there before, and an exec may fail.
type sigaction [8]uintptr

const sigIgnore = 1

func (a *sigaction) handler() *uintptr {
	if strings.HasPrefix(runtime.GOARCH, "mips") {
		return &a[1]
	}
	return &a[0]
}

func rtSigaction(sig int, action, old *sigaction) error {
	size := uintptr(8)
	if strings.HasPrefix(runtime.GOARCH, "mips") {
		size = 16
	}
	_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig),
		uintptr(unsafe.Pointer(action)), uintptr(unsafe.Pointer(old)), size, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// ignoreSignals ignores the signals until restore is called. SIGCHLD, which ends no
// process, is left alone: while it is ignored the kernel throws exits of children
// away.
func ignoreSignals(signals []int) (restore func()) {
	signals = slices.DeleteFunc(slices.Clone(signals), func(sig int) bool { return sig == int(unix.SIGCHLD) })
	before := make([]sigaction, len(signals))
	var ignore sigaction
	*ignore.handler() = sigIgnore
	for i, sig := range signals {
		if rtSigaction(sig, &ignore, &before[i]) != nil {
			signals[i] = 0 // SIGKILL, SIGSTOP or no signal: none can be ignored
		}
	}
	return func() {
		for i, sig := range signals {
			if sig != 0 {
				rtSigaction(sig, &before[i], nil) // was possible in the other direction
			}
		}
	}
}

// stopIgnoring gives a signal that is ignored its default action.
func stopIgnoring(sig int) {
	var action, none sigaction
	if rtSigaction(sig, nil, &action) == nil && *action.handler() == sigIgnore {
		rtSigaction(sig, &none, nil)
	}
}
