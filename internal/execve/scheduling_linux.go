//go:build !autorestart_portable

// The scheduling of a thread.
//
// A seccomp filter may end the process at a call that sets it: systemd's
// SystemCallFilter=~@resources does. Nothing tells beforehand which calls a filter allows. So no
// call is made for what does not differ. In a process with a filter, a child makes the call for the
// thread. If the filter ends the child, the thread keeps what it has, and this process does not make
// the call again.
//
//	call                       since    without it
//	sched_setattr(2)           3.14     the new image has the scheduling of the calling thread
//	ioprio_set(2)              2.6.13   the same for its I/O priority
//	sched_setaffinity(2)       2.5.8    -
//	PR_GET_SECCOMP             2.6.23   there are no filters

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

// fatal are the calls at which a filter ends the process. The holder of executor.mu, and the
// threads that work for it one after the other, use it.
var fatal [numSettings]bool

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
	c := schedulingChange{want: schedulingOf(syscall.Getpid()), pid: uintptr(syscall.Getpid()), tid: uintptr(syscall.Gettid())}
	own := schedulingOf(0)
	for what, differs := range own.differencesTo(&c.want) {
		if !differs || fatal[what] {
			continue
		}
		c.what = setting(what)
		if mayBeFiltered() {
			fatal[what] = c.makeInChild()
		} else {
			c.make()
		}
		changed = changed || !fatal[what]
	}
	return changed
}

// mayBeFiltered reports whether this thread has a seccomp filter, as far as that can be told.
func mayBeFiltered() bool {
	const getSeccomp = 21
	mode, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, getSeccomp, 0, 0)
	return mode != 0 && errno != syscall.EINVAL // which is the answer of a kernel without filters
}

// LosesScheduling reports whether an exec by this thread gives the next image the scheduling of
// another thread than the main one, because a filter ends the process at the call that sets it. It
// is true once.
func LosesScheduling() (loses bool) {
	if !mayBeFiltered() {
		return false
	}
	AsLeader(func() error {
		loses = fatal != [numSettings]bool{} && !hasScheduling() && !lossReported
		lossReported = lossReported || loses
		return nil
	})
	return loses
}

var lossReported bool

// A schedulingChange is a call that gives the thread tid of the process pid what it is to have.
type schedulingChange struct {
	want     scheduling
	what     setting
	pid, tid uintptr

	allSignals, signals rawsys.SignalMask
}

// make makes the call. Its error changes nothing: what can't be set stays.
//
//go:norace
//go:nocheckptr
//go:nosplit
func (c *schedulingChange) make() {
	switch c.what {
	case setPolicy:
		syscall.RawSyscall6(rawsys.Numbers.SchedSetattr, c.tid, uintptr(unsafe.Pointer(&c.want.attr)), 0, 0, 0, 0)
	case setCPUs:
		syscall.RawSyscall6(syscall.SYS_SCHED_SETAFFINITY, c.tid, unsafe.Sizeof(c.want.cpus), uintptr(unsafe.Pointer(&c.want.cpus)), 0, 0, 0)
	case setIO:
		syscall.RawSyscall6(syscall.SYS_IOPRIO_SET, ioprioWhoProcess, c.tid, c.want.io, 0, 0, 0)
	}
}

// makeInChild has a child make the call, and reports whether a filter has ended the child. The
// child sends no SIGCHLD, and only __WALL waits for it.
func (c *schedulingChange) makeInChild() (fatal bool) {
	pid, errno := c.fork()
	if errno != 0 {
		return false // processes or memory are short
	}
	const wall = 0x40000000
	for {
		var status syscall.WaitStatus
		_, err := syscall.Wait4(pid, &status, wall, nil)
		if err != syscall.EINTR {
			return err == nil && status.Signaled() && status.Signal() == syscall.SIGSYS
		}
	}
}

// fork starts the child and returns its PID. A signal must not find the child: the runtime's
// handlers work on state that belongs to this process. It has a copy of the memory: up to Linux
// 5.15, a core dump ends all processes that share it.
//
//go:norace
//go:nocheckptr
//go:nosplit
func (c *schedulingChange) fork() (pid int, errno syscall.Errno) {
	c.allSignals = rawsys.SignalMask{^uint64(0), ^uint64(0)}
	c.signals.Change(&c.allSignals)
	n, _, errno := syscall.RawSyscall6(syscall.SYS_CLONE, 0, 0, 0, 0, 0, 0)
	if n == 0 && errno == 0 {
		c.run()
	}
	c.allSignals.Change(&c.signals)
	return int(n), errno
}

// run is the child. It leaves no core dump behind.
//
//go:norace
//go:nocheckptr
//go:nosplit
func (c *schedulingChange) run() {
	const setDumpable = 4
	syscall.RawSyscall6(syscall.SYS_PRCTL, setDumpable, 0, 0, 0, 0, 0)
	// In another PID namespace, tid is the number of another thread.
	if parent, _, _ := syscall.RawSyscall6(syscall.SYS_GETPPID, 0, 0, 0, 0, 0, 0); parent == c.pid {
		c.make()
	}
	for {
		syscall.RawSyscall6(syscall.SYS_EXIT_GROUP, 0, 0, 0, 0, 0, 0)
	}
}
