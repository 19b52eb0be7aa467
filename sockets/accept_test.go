package sockets

import (
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// failingSocket is a socket whose Accept fails for some time, unless its deadline is over
// or it is closed.
type failingSocket struct {
	listenerSocket
	err    error
	times  atomic.Int64 // that it will fail
	tried  atomic.Int64 // that it has failed
	until  atomic.Pointer[time.Time]
	closed atomic.Bool
}

// Accept never accepts at its deadline. A real socket may: its timer is late where processes
// are many.
func (s *failingSocket) Accept() (net.Conn, error) {
	err := os.NewSyscallError("accept4", s.err)
	switch {
	case s.closed.Load() || s.times.Add(-1) < 0:
		return s.listenerSocket.Accept()
	case expired(*s.until.Load()):
		err = os.ErrDeadlineExceeded
	default:
		s.tried.Add(1)
	}
	return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: s.Addr(), Err: err}
}

func (s *failingSocket) SetDeadline(t time.Time) error {
	s.until.Store(&t)
	return s.listenerSocket.SetDeadline(t)
}

func (s *failingSocket) Close() error {
	s.closed.Store(true)
	return s.listenerSocket.Close()
}

// newFailingListener returns a listener that a client has connected to, and whose socket
// fails several times.
func newFailingListener(t *testing.T, err error, times int64) (*listener, *failingSocket) {
	t.Helper()
	l := listen(t, "127.0.0.1:0")
	client, dialErr := net.Dial("tcp", l.Addr().String())
	if dialErr != nil {
		t.Fatal(dialErr)
	}
	t.Cleanup(func() { client.Close() })
	s := &failingSocket{listenerSocket: l.socket, err: err}
	s.times.Store(times)
	s.until.Store(new(time.Time))
	l.socket, l.arm = s, s.SetDeadline
	return l, s
}

func TestAcceptErrorThatPassesIsNotReturned(t *testing.T) {
	for _, errno := range []syscall.Errno{
		syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.ENOBUFS, syscall.ENOSPC,
		syscall.EINTR, syscall.ECONNABORTED, syscall.EPROTO, syscall.EPERM, syscall.ENETDOWN, syscall.ENETUNREACH,
		syscall.EHOSTUNREACH, syscall.EHOSTDOWN, syscall.ENOPROTOOPT, syscall.EOPNOTSUPP,
	} {
		t.Run(errno.Error(), func(t *testing.T) {
			l, _ := newFailingListener(t, errno, 3)
			wantResult(t, accept(l), nil)
		})
	}
}

func TestLastingAcceptErrorIsReturned(t *testing.T) {
	for _, err := range []error{syscall.EBADF, syscall.EINVAL, syscall.ENOTSOCK, net.ErrClosed, os.ErrDeadlineExceeded} {
		l, _ := newFailingListener(t, err, 1)
		wantResult(t, accept(l), err)
	}
}

// The caller's deadline, Close and a restart end the pause after an error.
func TestPauseAfterAcceptErrorEnds(t *testing.T) {
	pausing := func(t *testing.T) (*listener, *failingSocket, <-chan error) {
		l, s := newFailingListener(t, syscall.EMFILE, 1<<30)
		result := accept(l)
		testprocess.WaitFor(t, "retry of accept", func() bool { return s.tried.Load() >= 5 })
		return l, s, result
	}
	t.Run("deadline", func(t *testing.T) {
		l, _, result := pausing(t)
		l.SetDeadline(time.Now().Add(20 * time.Millisecond))
		wantResult(t, result, os.ErrDeadlineExceeded)
	})
	t.Run("close", func(t *testing.T) {
		l, _, result := pausing(t)
		l.Close()
		wantResult(t, result, net.ErrClosed)
	})
	t.Run("restart", func(t *testing.T) {
		l, s, result := pausing(t)
		listenerDrainer{l}.Quiesce()
		tried := s.tried.Load()
		time.Sleep(20 * time.Millisecond)
		if s.tried.Load() != tried {
			t.Error("a quiesced listener accepts")
		}
		listenerDrainer{l}.Resume()
		s.times.Store(0)
		wantResult(t, result, nil)
	})
}
