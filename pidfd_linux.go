//go:build !autorestart_portable

package autorestart

import (
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What we ask of the kernel, and what we do where it says no, which it may do
// at any time, since a seccomp filter can come later:
//
//	call                 since  without it
//	pidfd_open           5.3    the child is known by its PID alone: see below
//	poll on a pidfd      5.3    comes with pidfd_open
//	pidfd_send_signal    5.1    kill, after a look that the child has not been waited for
//	waitid(P_PIDFD)      5.4    wait4 for the PID; the pidfd still tells when
//	PIDFD_NONBLOCK       5.10   not needed: the epoll instance does not block, see exits_linux.go
//	waitid with __WALL   4.7    without __WALL; only children made by clone(2) without SIGCHLD are missed
//
// A PID stands for the same process until that process has been waited for. So
// a child known by its PID alone is safe as long as nobody else in this process
// waits for it, and if somebody does, waitid or its start time tells.

// release closes the child's pidfd.
func (c *child) release() {
	if c.fd != noPidfd {
		unix.Close(c.fd)
		c.fd = noPidfd
	}
}

// openPidfd wraps pidfd_open(2). The descriptor is close-on-exec and the
// caller's.
func openPidfd(pid int) (int, error) {
	fd, err := ignoringEINTR(func() (int, error) { return unix.PidfdOpen(pid, 0) })
	if err != nil {
		return noPidfd, os.NewSyscallError("pidfd_open", err)
	}
	return fd, nil
}

// waitChild asks once whether the child has exited, which takes the zombie away,
// and fills in e unless it is nil.
func waitChild(c *child, e *ChildExit) waitState {
	if c.fd == noPidfd {
		return waitPID(c.pid, e)
	}
	var info unix.Siginfo
	err := waitid(unix.P_PIDFD, c.fd, &info, unix.WEXITED, e.usage())
	switch err {
	case nil:
	case unix.ECHILD:
		return waitNotOurs
	default: // EINVAL from Linux 5.3, ENOSYS, EPERM and the like from a filter
		return waitPID(c.pid, e)
	}
	pid, status := childInfo(&info)
	if pid == 0 {
		return waitRunning
	}
	switch {
	case e == nil:
	case info.Code == cldExited:
		e.Code = status
	default:
		e.Code, e.Signal, e.CoreDump = -1, syscall.Signal(status), info.Code == cldDumped
	}
	return waitExited
}

// waitPID is waitChild for a PID.
func waitPID(pid int, e *ChildExit) waitState {
	var status unix.WaitStatus
	got, _, errno := unix.RawSyscall6(unix.SYS_WAIT4, uintptr(pid), uintptr(unsafe.Pointer(&status)),
		unix.WNOHANG|unix.WALL, uintptr(unsafe.Pointer(e.usage())), 0, 0)
	if errno != 0 {
		return waitNotOurs
	}
	if int(got) != pid {
		return waitRunning
	}
	if e == nil {
		return waitExited
	}
	e.Code = status.ExitStatus() // -1 if a signal ended it
	if status.Signaled() {
		e.Signal, e.CoreDump = status.Signal(), status.CoreDump()
	}
	return waitExited
}

// usage is where the kernel can put what the child has used: the two types have
// one layout. Nothing is asked of it if nobody wants to know.
func (e *ChildExit) usage() *unix.Rusage {
	if e == nil {
		return nil
	}
	return (*unix.Rusage)(unsafe.Pointer(&e.Usage))
}

// peekChild tells what waitPID would, and leaves a zombie where it is.
func peekChild(pid int) waitState {
	var info unix.Siginfo
	if waitid(unix.P_PID, pid, &info, unix.WEXITED|unix.WNOWAIT, nil) != nil {
		return waitNotOurs
	}
	if got, _ := childInfo(&info); got == 0 {
		return waitRunning
	}
	return waitExited
}

// peekZombie returns some child of this process that has exited and has not
// been waited for: 0 if there is none, -1 if the kernel doesn't say.
func peekZombie() int {
	var info unix.Siginfo
	switch waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOWAIT, nil) {
	case nil:
		pid, _ := childInfo(&info)
		return pid
	case unix.ECHILD:
		return 0
	default:
		return -1
	}
}

// haveNoChildren reports whether it is certain that there is none, dead or alive.
func haveNoChildren() bool {
	var info unix.Siginfo
	return waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOWAIT, nil) == unix.ECHILD
}

// waitid wraps waitid(2) for children of every kind, with WNOHANG. With that, waitid
// and wait4 neither block nor are interrupted, and Go's scheduler, which would take
// its share of a long run of zombies, need not be told of them.
func waitid(kind, id int, info *unix.Siginfo, options int, usage *unix.Rusage) error {
	options |= unix.WNOHANG | unix.WALL
	for {
		_, _, errno := unix.RawSyscall6(unix.SYS_WAITID, uintptr(kind), uintptr(id), uintptr(unsafe.Pointer(info)),
			uintptr(options), uintptr(unsafe.Pointer(usage)), 0)
		switch {
		case errno == 0:
			return nil
		case errno == unix.EINVAL && kind != unix.P_PIDFD && options&unix.WALL != 0:
			options &^= unix.WALL
		default:
			return errno
		}
	}
}

// si_code of a child that has exited, from sigaction(2).
const (
	cldExited = 1
	cldDumped = 3
)

// childInfo returns si_pid and si_status, which the unix package leaves
// unnamed: after three ints and what aligns a pointer come PID, UID and status.
func childInfo(info *unix.Siginfo) (pid, status int) {
	const word = unsafe.Sizeof(uintptr(0))
	const at = (3*4 + word - 1) &^ (word - 1)
	f := (*[3]int32)(unsafe.Add(unsafe.Pointer(info), at))
	return int(f[0]), int(f[2])
}

// signalChild sends the child a signal. It returns [os.ErrProcessDone] if the
// child has been waited for.
func signalChild(c *child, sig syscall.Signal) error {
	if c.fd != noPidfd {
		switch err := unix.PidfdSendSignal(c.fd, sig, nil, 0); err {
		case nil:
			return nil
		case unix.ESRCH:
			return os.ErrProcessDone
		default: // perhaps the call's fault: kill will tell
		}
	}
	if peekChild(c.pid) == waitNotOurs {
		return os.ErrProcessDone
	}
	return os.NewSyscallError("kill", unix.Kill(c.pid, sig))
}

const sigcont = unix.SIGCONT

// hold gives the child a pidfd, if one can be had.
func hold(c *child) {
	if fd, err := openPidfd(c.pid); err == nil {
		c.fd = fd
	}
}

// isForeign reports whether what the child's pidfd, or its PID, stands for is not
// a child of this process.
func isForeign(c *child) bool {
	if c.fd != noPidfd {
		var info unix.Siginfo
		switch waitid(unix.P_PIDFD, c.fd, &info, unix.WEXITED|unix.WNOWAIT, nil) {
		case nil:
			return false
		case unix.ECHILD:
			return true
		}
	}
	return peekChild(c.pid) == waitNotOurs
}
