//go:build !autorestart_portable

// Children.
//
//	call                 since  without it
//	pidfd_open(2)        5.3    the child is known by its PID alone
//	poll of a pidfd      5.3    comes with pidfd_open
//	pidfd_send_signal    5.1    kill(2), after a look that the child has not been waited for
//	waitid(P_PIDFD)      5.4    wait4(2) for the PID, after such a look; the pidfd still announces the exit
//	PIDFD_NONBLOCK       5.10   not needed: the epoll instance does not block
//	waitid with __WALL   4.7    children made by clone(2) without SIGCHLD are missed
//	waitid with __WCLONE 4.7    a process that this one traces may pass for an orphan
//	SET_CHILD_SUBREAPER  3.4    orphans come to process 1
//
// The kernel may take any of them back at any time, since a seccomp filter can come
// later: package internal/reap answers for that.

package autorestart

import (
	"cmp"
	"errors"
	"os"
	"os/signal"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/reap"
	"github.com/autorestart-go/autorestart/internal/sys"
)

// childTable is the kernel's table of processes. Its methods are here and in
// procfs_linux.go.
type childTable struct{}

var _ reap.Table = (*childTable)(nil)

// PeekAny wraps waitid(2) for P_ALL with WNOWAIT. It returns an error for the stop of a process
// that this one traces, which may hide a zombie.
func (*childTable) PeekAny() (pid int, state reap.State, err error) {
	var info unix.Siginfo
	state, err = peek(unix.P_ALL, 0, &info)
	pid, _ = childInfo(&info)
	if state == reap.Running && pid != 0 {
		return 0, state, errStopped
	}
	return pid, state, err
}

var errStopped = errors.New("a process that this one traces has stopped")

// Peek wraps waitid(2) for P_PID with WNOWAIT.
func (*childTable) Peek(pid int) (reap.State, error) {
	var info unix.Siginfo
	return peek(unix.P_PID, pid, &info)
}

// PeekDescriptor wraps waitid(2) for P_PIDFD with WNOWAIT.
func (*childTable) PeekDescriptor(fd int) (pid int, err error) {
	var info unix.Siginfo
	err = waitid(unix.P_PIDFD, fd, &info, unix.WEXITED|unix.WNOWAIT, nil)
	if hasExited(&info) {
		pid, _ = childInfo(&info)
	}
	return pid, err
}

// Kin wraps waitid(2) with and without __WCLONE: a child announces its exit by SIGCHLD or in
// another way, and is found by one of the two calls. A process that this one traces is found by both.
func (*childTable) Kin(pid int) reap.Kin {
	var info unix.Siginfo
	const options = unix.WEXITED | unix.WNOWAIT | unix.WNOHANG
	switch errno := rawWaitid(unix.P_PID, pid, &info, options|unix.WCLONE, nil); {
	case errno == unix.ECHILD || errno == unix.EINVAL: // EINVAL before Linux 4.7
		return reap.Child
	case errno != 0:
		return reap.UnknownKin
	case rawWaitid(unix.P_PID, pid, &info, options, nil) != 0:
		return reap.Cloned
	default:
		return reap.Traced
	}
}

func peek(kind, id int, info *unix.Siginfo) (reap.State, error) {
	switch err := waitid(kind, id, info, unix.WEXITED|unix.WNOWAIT, nil); err {
	case nil:
	case unix.ECHILD:
		return reap.NotOurs, nil
	default:
		return reap.NotOurs, os.NewSyscallError("waitid", err)
	}
	if !hasExited(info) {
		return reap.Running, nil
	}
	return reap.Exited, nil
}

// hasExited reports whether waitid(2) has found an exit: it may have found nothing, or the
// stop of a process that this one traces, which it returns without WSTOPPED, too.
func hasExited(info *unix.Siginfo) bool {
	return info.Code >= cldExited && info.Code <= cldDumped
}

// Wait wraps wait4(2) with WNOHANG. It takes the stop of a process that this one traces
// away, if the stop is not yet reported.
func (*childTable) Wait(pid int, e *reap.Exit) (reap.State, error) {
	var status unix.WaitStatus
	got, _, errno := unix.RawSyscall6(unix.SYS_WAIT4, uintptr(pid), uintptr(unsafe.Pointer(&status)),
		unix.WNOHANG|unix.WALL, uintptr(unsafe.Pointer(usage(e))), 0, 0)
	switch {
	case errno == unix.ECHILD:
		return reap.NotOurs, nil
	case errno != 0:
		return reap.NotOurs, os.NewSyscallError("wait4", errno)
	case int(got) != pid || !status.Exited() && !status.Signaled():
		return reap.Running, nil
	case e == nil:
		return reap.Exited, nil
	}
	e.Code = status.ExitStatus() // -1 if a signal ended it
	if status.Signaled() {
		e.Signal, e.CoreDump = status.Signal(), status.CoreDump()
	}
	return reap.Exited, nil
}

// WaitAny is not needed here, and would take the children of os/exec.
func (*childTable) WaitAny(*reap.Exit) (reap.State, error) {
	return reap.Unsupported{}.WaitAny(nil)
}

// Kill wraps kill(2).
func (*childTable) Kill(pid int, sig syscall.Signal) error {
	err := unix.Kill(pid, sig)
	if err == unix.ESRCH {
		return os.ErrProcessDone
	}
	return os.NewSyscallError("kill", err)
}

func (*childTable) ContinueSignal() syscall.Signal { return unix.SIGCONT }

// NotifyExits has SIGCHLD sent to a channel.
func (*childTable) NotifyExits() (exits <-chan os.Signal, stop func()) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, unix.SIGCHLD)
	return c, func() { signal.Stop(c) }
}

// A pidfd owns the descriptor.
type pidfd struct{ fd *sys.FD }

// Open wraps pidfd_open(2). The descriptor is close-on-exec.
func (*childTable) Open(pid int) (reap.Pidfd, error) {
	fd, err := sys.IgnoringEINTR(func() (int, error) { return unix.PidfdOpen(pid, 0) })
	switch err {
	case nil:
		return pidfd{sys.NewFD(fd)}, nil
	case unix.ESRCH:
		return nil, os.ErrProcessDone
	default:
		return nil, os.NewSyscallError("pidfd_open", err)
	}
}

func (p pidfd) FD() int { return p.fd.Int() }
func (p pidfd) Close()  { p.fd.Close() }

// Peek wraps waitid(2) for P_PIDFD with WNOWAIT.
func (p pidfd) Peek() (reap.State, error) {
	var info unix.Siginfo
	return peek(unix.P_PIDFD, p.FD(), &info)
}

// Wait wraps waitid(2) for P_PIDFD. It looks first, because waitid would take the stop of a
// process away that this one traces.
func (p pidfd) Wait(e *reap.Exit) (reap.State, error) {
	var info unix.Siginfo
	if state, err := peek(unix.P_PIDFD, p.FD(), &info); err != nil || state != reap.Exited {
		return state, err
	}
	switch err := waitid(unix.P_PIDFD, p.FD(), &info, unix.WEXITED, usage(e)); err {
	case nil:
	case unix.ECHILD:
		return reap.NotOurs, nil
	default: // EINVAL from Linux 5.3, ENOSYS, EPERM and the like from a filter
		return reap.NotOurs, os.NewSyscallError("waitid", err)
	}
	pid, status := childInfo(&info)
	switch {
	case pid == 0:
		return reap.Running, nil
	case e == nil:
	case info.Code == cldExited:
		e.Code = status
	default:
		e.Code, e.Signal, e.CoreDump = -1, syscall.Signal(status), info.Code == cldDumped
	}
	return reap.Exited, nil
}

// Signal wraps pidfd_send_signal(2).
func (p pidfd) Signal(sig syscall.Signal) error {
	err := unix.PidfdSendSignal(p.FD(), sig, nil, 0)
	if err == unix.ESRCH {
		return os.ErrProcessDone
	}
	return os.NewSyscallError("pidfd_send_signal", err)
}

// usage is where the kernel puts what the child has used: the two types have one
// layout. Without e it need not.
func usage(e *reap.Exit) *unix.Rusage {
	if e == nil {
		return nil
	}
	return (*unix.Rusage)(unsafe.Pointer(&e.Usage))
}

// waitid wraps waitid(2) for children of every kind, with WNOHANG. With that, waitid
// and wait4 neither block nor are interrupted, and Go's scheduler, which would take
// its share of a long run of zombies, need not know of them.
func waitid(kind, id int, info *unix.Siginfo, options int, usage *unix.Rusage) error {
	options |= unix.WNOHANG | unix.WALL
	for {
		errno := rawWaitid(kind, id, info, uint(options), usage)
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

func rawWaitid(kind, id int, info *unix.Siginfo, options uint, usage *unix.Rusage) syscall.Errno {
	_, _, errno := unix.RawSyscall6(unix.SYS_WAITID, uintptr(kind), uintptr(id), uintptr(unsafe.Pointer(info)),
		uintptr(options), uintptr(unsafe.Pointer(usage)), 0)
	return errno
}

// si_code of a child that has exited, from sigaction(2), is between these.
const (
	cldExited = 1
	cldDumped = 3
)

// childInfo returns si_pid and si_status, which the unix package leaves unnamed:
// after three ints and what aligns a pointer come PID, UID and status.
func childInfo(info *unix.Siginfo) (pid, status int) {
	const word = unsafe.Sizeof(uintptr(0))
	const at = (3*4 + word - 1) &^ (word - 1)
	f := (*[3]int32)(unsafe.Add(unsafe.Pointer(info), at))
	return int(f[0]), int(f[2])
}

// poller is an epoll instance of pidfds. It is itself a descriptor that can be
// polled, in the epoll instance of Go's runtime: one goroutine waits there, parked,
// for all of the pidfds.
type poller struct {
	file   *os.File
	conn   syscall.RawConn
	exited chan []int
	stop   chan struct{}
	err    error // why exited was closed
}

// NewPoller wraps epoll_create1(2).
func (*childTable) NewPoller() (reap.Poller, error) {
	n, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	fd := sys.NewFD(n)
	if err := unix.SetNonblock(n, true); err != nil { // for the runtime's poller
		fd.Close()
		return nil, os.NewSyscallError("fcntl", err)
	}
	p := &poller{
		file:   fd.File("epoll"),
		exited: make(chan []int),
		stop:   make(chan struct{}),
	}
	if p.conn, err = p.file.SyscallConn(); err != nil {
		p.file.Close()
		return nil, err
	}
	go p.run()
	return p, nil
}

const epollET = 1 << 31 // unix.EPOLLET is negative on some architectures

// Add wraps epoll_ctl(2). The event is edge-triggered, because a zombie that is traced
// is ready for long before it can be waited for.
func (p *poller) Add(pidfd reap.Pidfd, pid int) (err error) {
	event := unix.EpollEvent{Events: unix.EPOLLIN | epollET, Fd: int32(pid)}
	if ctl := p.conn.Control(func(fd uintptr) {
		err = unix.EpollCtl(int(fd), unix.EPOLL_CTL_ADD, pidfd.FD(), &event)
	}); ctl != nil {
		return ctl
	}
	return os.NewSyscallError("epoll_ctl", err)
}

func (p *poller) Exited() <-chan []int { return p.exited }
func (p *poller) Err() error           { return p.err }

// run passes on what epoll_wait(2) returns until it fails or the file is closed.
func (p *poller) run() {
	defer close(p.exited)
	var events [128]unix.EpollEvent
	for {
		n := 0
		var wait error
		err := p.conn.Read(func(fd uintptr) bool {
			n, wait = sys.IgnoringEINTR(func() (int, error) { return unix.EpollWait(int(fd), events[:], 0) })
			return n != 0 || wait != nil
		})
		if p.err = cmp.Or(err, os.NewSyscallError("epoll_wait", wait)); p.err != nil {
			return
		}
		pids := make([]int, n)
		for i := range pids {
			pids[i] = int(events[i].Fd)
		}
		select {
		case p.exited <- pids:
		case <-p.stop:
			return
		}
	}
}

// Close returns after the goroutine has ended.
func (p *poller) Close() {
	close(p.stop)
	p.file.Close()
	for range p.exited {
	}
}

// Subreaper wraps PR_GET_CHILD_SUBREAPER of prctl(2).
func (*childTable) Subreaper() (bool, error) {
	var on int32
	_, _, errno := unix.RawSyscall6(unix.SYS_PRCTL, unix.PR_GET_CHILD_SUBREAPER, uintptr(unsafe.Pointer(&on)), 0, 0, 0, 0)
	if errno != 0 {
		return false, os.NewSyscallError("prctl", errno)
	}
	return on != 0, nil
}

// SetSubreaper wraps PR_SET_CHILD_SUBREAPER of prctl(2).
func (*childTable) SetSubreaper(on bool) error {
	value := uintptr(0)
	if on {
		value = 1
	}
	return os.NewSyscallError("prctl", unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, value, 0, 0, 0))
}

// StartedByPidfd asks package os for the pidfd of a process.
func (*childTable) StartedByPidfd() bool {
	p, err := os.FindProcess(unix.Getpid())
	if err != nil {
		return false
	}
	defer p.Release()
	return p.WithHandle(func(uintptr) {}) == nil
}

// Session wraps getsid(2).
func (*childTable) Session(pid int) (int, error) {
	sid, err := unix.Getsid(pid)
	return sid, os.NewSyscallError("getsid", err)
}

// PID wraps getpid(2).
func (*childTable) PID() int { return unix.Getpid() }

// NewestPID returns the TID of a thread that has been started for that. It must be
// called during package initialisation, on the main thread, which no other goroutine
// is on.
func (*childTable) NewestPID() (int, error) {
	c := make(chan int)
	go func() { c <- unix.Gettid() }()
	return <-c, nil
}

// OpenFilesLimit wraps getrlimit(2) for RLIMIT_NOFILE.
func (*childTable) OpenFilesLimit() (soft, hard uint64, err error) {
	var limit unix.Rlimit
	err = unix.Getrlimit(unix.RLIMIT_NOFILE, &limit)
	return limit.Cur, limit.Max, os.NewSyscallError("getrlimit", err)
}
