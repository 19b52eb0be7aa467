//go:build !autorestart_portable

package autorestart

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// scheduleAsLeader gives the calling thread the scheduling of the process's
// first thread, until it is undone: policy, nice value and CPUs are each
// thread's own on Linux, renice(1), chrt(1) and taskset(1) change those of the
// first, and after an exec the process has those of the thread that called it.
// What the kernel doesn't allow stays as it is.
func scheduleAsLeader() (undo func()) {
	runtime.LockOSThread()
	leader := schedulingOf(unix.Getpid())
	mine := schedulingOf(0)
	if leader == mine {
		return runtime.UnlockOSThread
	}
	leader.apply()
	return func() {
		mine.apply()
		runtime.UnlockOSThread()
	}
}

type scheduling struct {
	attr unix.SchedAttr // of sched_setattr(2), Linux 3.14; zero without it
	cpus unix.CPUSet
}

func schedulingOf(tid int) (s scheduling) {
	if attr, err := unix.SchedGetAttr(tid, 0); err == nil {
		s.attr = *attr
	}
	unix.SchedGetaffinity(tid, &s.cpus)
	return s
}

func (s *scheduling) apply() {
	if s.attr.Size > 0 {
		unix.SchedSetAttr(0, &s.attr, 0)
	}
	unix.SchedSetaffinity(0, &s.cpus)
}
