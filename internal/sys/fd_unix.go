//go:build unix

package sys

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// closeDescriptor wraps close(2).
func closeDescriptor(fd int) error { return os.NewSyscallError("close", unix.Close(fd)) }

// DuplicateFile returns another descriptor of f. Unlike [os.File.Fd] it leaves f as
// it is. The caller owns the descriptor.
func DuplicateFile(f *os.File) (fd *FD, err error) {
	conn, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	if ctl := conn.Control(func(own uintptr) { fd, err = Duplicate(int(own)) }); ctl != nil {
		return nil, ctl
	}
	return fd, err
}

// AboveStandard takes over the descriptor that a system call has just returned and
// moves it above the standard streams.
func AboveStandard(fd int, err error) (*FD, error) {
	switch {
	case err != nil:
		return nil, err
	case fd >= firstAboveStandard:
		return NewFD(fd), nil
	}
	low := NewFD(fd)
	defer low.Close()
	return Duplicate(fd)
}

// DuplicateOver puts a duplicate of fd at the given number, in place of what is open
// there: dup2(2). The duplicate is not close-on-exec. The caller answers for the number.
func (fd *FD) DuplicateOver(number int) error {
	return os.NewSyscallError("dup2", RetryEINTR(func() error { return unix.Dup2(fd.Int(), number) }))
}

// Flags returns two flags of fd, see fcntl(2): FD_CLOEXEC belongs to the descriptor,
// O_NONBLOCK to what it has open. It fails if fd is not open.
func Flags(fd int) (closeOnExec, nonblocking bool, err error) {
	own, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	if err != nil {
		return false, false, os.NewSyscallError("fcntl", err)
	}
	status, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil {
		return false, false, os.NewSyscallError("fcntl", err)
	}
	return own&unix.FD_CLOEXEC != 0, status&unix.O_NONBLOCK != 0, nil
}

// IgnoringEINTR calls f again for as long as a signal interrupts it. The Go runtime
// preempts goroutines by signals, so every call that can return EINTR does so sooner
// or later.
func IgnoringEINTR[T any](f func() (T, error)) (v T, err error) {
	err = RetryEINTR(func() error {
		v, err = f()
		return err
	})
	return v, err
}

// RetryEINTR is [IgnoringEINTR] for a call that returns nothing but an error.
func RetryEINTR(f func() error) error {
	for {
		if err := f(); err != unix.EINTR {
			return err
		}
	}
}

// WriteStderr writes to standard error, and waits for room where that is nonblocking. Unlike
// a write of [os.Stderr] it does not raise SIGPIPE when the reader is gone: that would end
// the process.
func WriteStderr(b []byte) { WriteTo(int(os.Stderr.Fd()), b) }

// WriteTo is WriteStderr for any descriptor.
func WriteTo(fd int, b []byte) {
	for len(b) > 0 {
		n, err := syscall.Write(fd, b)
		b = b[max(0, n):]
		switch err {
		case nil, syscall.EINTR:
		case syscall.EAGAIN:
			unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, -1)
		default:
			return
		}
	}
}

// HasHungUp reports whether a socket was shut down in both directions, see POLLHUP in poll(2).
func HasHungUp(fd int) bool {
	fds := []unix.PollFd{{Fd: int32(fd)}}
	_, err := unix.Poll(fds, 0)
	return err == nil && fds[0].Revents&unix.POLLHUP != 0
}
