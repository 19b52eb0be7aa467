//go:build !autorestart_portable

// The channel of a stand-in.
//
//	call              since    without it
//	SOCK_SEQPACKET    2.6.4    there are no stand-ins
//	SCM_RIGHTS        2.2      the same

package standin

import (
	"errors"
	"io"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/sys"
)

// channel is one end of a socket pair. It does not block, and uses Go's poller.
type channel struct {
	file *os.File
	conn syscall.RawConn
	fd   int
}

// newChannel takes over a descriptor.
func newChannel(fd *sys.FD) (*channel, error) {
	if err := unix.SetNonblock(fd.Int(), true); err != nil {
		fd.Close()
		return nil, os.NewSyscallError("fcntl", err)
	}
	c := &channel{fd: fd.Int()}
	c.file = fd.File("channel of a stand-in")
	conn, err := c.file.SyscallConn()
	if err != nil {
		c.file.Close()
		return nil, err
	}
	c.conn = conn
	return c, nil
}

// channelPair returns both ends of a channel. The other one is for the stand-in, and blocks.
func channelPair() (own *channel, other *sys.FD, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	ownFD, err := sys.AboveStandard(pair[0], nil)
	other, otherErr := sys.AboveStandard(pair[1], nil)
	if err == nil {
		if err = otherErr; err == nil {
			err = os.NewSyscallError("setsockopt", unix.SetsockoptInt(other.Int(), unix.SOL_SOCKET, unix.SO_PASSCRED, 1))
		}
		if err == nil {
			if own, err = newChannel(ownFD); err == nil {
				return own, other, nil
			}
		} else {
			ownFD.Close()
		}
	}
	if otherErr == nil {
		other.Close()
	}
	return nil, nil, err
}

func (c *channel) inherited() int { return c.fd }

func (c *channel) close() { c.file.Close() }

func (c *channel) pause(on bool) {
	var deadline time.Time
	if on {
		deadline = time.Unix(1, 0) // it has passed
	}
	c.file.SetReadDeadline(deadline)
}

func (c *channel) send(b []byte, fd int) error {
	var rights []byte
	if fd >= 0 {
		rights = unix.UnixRights(fd)
	}
	var err error
	wait := c.conn.Write(func(own uintptr) (done bool) {
		err = sys.RetryEINTR(func() error {
			return unix.Sendmsg(int(own), b, rights, nil, unix.MSG_NOSIGNAL)
		})
		return err != unix.EAGAIN
	})
	if wait != nil {
		return wait
	}
	return os.NewSyscallError("sendmsg", err)
}

func (c *channel) receive(b []byte) (n, fd int, err error) {
	oob := make([]byte, unix.CmsgSpace(4))
	var length int
	wait := c.conn.Read(func(own uintptr) (done bool) {
		receive := func() (err error) {
			n, length, _, _, err = unix.Recvmsg(int(own), b, oob, unix.MSG_CMSG_CLOEXEC)
			return err
		}
		if err = sys.RetryEINTR(receive); err == unix.ECONNRESET {
			// The other process has ended, and has left something unread. The kernel says that
			// once, and then returns what that process has sent.
			err = sys.RetryEINTR(receive)
		}
		return err != unix.EAGAIN
	})
	switch {
	case errors.Is(wait, os.ErrDeadlineExceeded):
		return 0, -1, errPaused
	case wait != nil:
		return 0, -1, wait
	case err != nil:
		return 0, -1, os.NewSyscallError("recvmsg", err)
	case n == 0:
		return 0, -1, io.EOF
	}
	return n, rightIn(oob[:length]), nil
}

// rightIn returns the descriptor that has come with a message, or -1.
func rightIn(oob []byte) int {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil || len(messages) != 1 {
		return -1
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return -1
	}
	if fd, err := sys.AboveStandard(fds[0], nil); err == nil {
		return fd.Release()
	}
	return -1
}
