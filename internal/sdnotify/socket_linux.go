//go:build !autorestart_portable

// The notify socket.
//
//	call                  since    without it
//	SOCK_CLOEXEC          2.6.27   -
//	SCM_RIGHTS            2.2      -

package sdnotify

import (
	"context"
	"errors"
	"os"
	"strconv"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/sys"
)

// A Socket sends to one address. It is not connected: the receiver may be replaced by another
// one at the same address. Its methods but Close may be called at the same time.
type Socket struct {
	fd      *sys.FD
	address string
}

// Open returns a socket that sends to an absolute path, or to an abstract name after "@". It is
// close-on-exec. Nothing is sent yet, so the receiver need not exist.
func Open(address string) (*Socket, error) {
	if err := checkAddress(address, int(unsafe.Sizeof(unix.RawSockaddrUnix{}.Path))); err != nil {
		return nil, err
	}
	fd, err := sys.AboveStandard(unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0))
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	return &Socket{fd, address}, nil
}

// Close closes the socket.
func (s *Socket) Close() error { return s.fd.Close() }

// Send sends one message, with duplicates of the descriptors, which the caller goes on owning. It
// never blocks. The error is an [*os.PathError] that wraps
//   - [ErrFull], if the message can't be sent now
//   - [syscall.ENOENT] or [syscall.ECONNREFUSED], if there is no receiver
//   - [syscall.EMSGSIZE], if the message is empty or longer than [MaxMessage]
//   - another error of sendmsg(2).
func (s *Socket) Send(state string, fds ...int) error {
	if len(state) == 0 || len(state) > MaxMessage {
		return s.failed(tooLong(len(state)))
	}
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	to := &unix.SockaddrUnix{Name: s.address} // the call writes to it
	err := sys.RetryEINTR(func() error {
		return unix.Sendmsg(s.fd.Int(), []byte(state), rights, to, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
	})
	switch err {
	case nil:
		return nil
	case unix.EAGAIN, unix.ENOBUFS, unix.ENOMEM, unix.ETOOMANYREFS: // the last one of descriptors that others have not received
		return s.failed(errors.Join(ErrFull, err))
	default:
		return s.failed(err)
	}
}

func (s *Socket) failed(err error) error {
	return &os.PathError{Op: "notify", Path: s.address, Err: err}
}

// A tooLong is the length of a message that can't be sent.
type tooLong int

func (n tooLong) Error() string {
	return "found a message of " + strconv.Itoa(int(n)) + " bytes, expected 1 to " + strconv.Itoa(MaxMessage)
}

func (tooLong) Is(target error) bool { return target == unix.EMSGSIZE }

// barrierRetry is the pause between two attempts to send a barrier.
const barrierRetry = 5 * time.Millisecond

// Barrier returns nil when the receiver has handled all messages that were sent before. It returns
// the cause of the end of ctx if that comes first.
func (s *Socket) Barrier(ctx context.Context) error {
	// A seccomp filter that allows the notify socket may end the process at pipe2(2).
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return os.NewSyscallError("socketpair", err)
	}
	own := os.NewFile(uintptr(ends[0]), "barrier")
	defer own.Close()
	err = s.sendWaiting(ctx, "BARRIER=1", ends[1])
	unix.Close(ends[1])
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { own.SetReadDeadline(time.Unix(1, 0)) })()
	if _, err := own.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
		return context.Cause(ctx)
	}
	return nil // systemd has closed the other end
}

// sendWaiting is Send that waits until there is room.
func (s *Socket) sendWaiting(ctx context.Context, state string, fd int) error {
	pause := time.NewTicker(barrierRetry)
	defer pause.Stop()
	for {
		err := s.Send(state, fd)
		if !errors.Is(err, ErrFull) {
			return err
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Monotonic returns the time of CLOCK_MONOTONIC, see clock_gettime(2).
func Monotonic() time.Duration {
	var now unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) != nil {
		return 0
	}
	return time.Duration(now.Nano())
}
