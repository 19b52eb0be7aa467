//go:build linux

package daemontest

import (
	"fmt"
	"io"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// A SlowStderr is a standard error that is read when the test says so.
type SlowStderr struct {
	t    testing.TB
	d    *Daemon
	r, w *os.File

	unread int // bytes
}

// SlowStderr gives the daemon, which has not been started, a standard error that is not
// read.
func (d *Daemon) SlowStderr() *SlowStderr {
	d.T.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		d.T.Fatal(err)
	}
	d.T.Cleanup(func() { r.Close(); w.Close() })
	d.Cmd.Stderr = w
	return &SlowStderr{t: d.T, d: d, r: r, w: w}
}

// WaitForLine waits until the daemon has written a line, or more, than has been seen.
func (s *SlowStderr) WaitForLine() {
	s.t.Helper()
	WaitFor(s.t, "log line", func() bool {
		n, err := unix.IoctlGetInt(int(s.r.Fd()), unix.TIOCINQ)
		if err != nil {
			s.t.Fatal(err)
		}
		before := s.unread
		s.unread = n
		return n > before
	})
}

// Fill fills the pipe: the next write of the daemon blocks.
func (s *SlowStderr) Fill() {
	s.t.Helper()
	// Not by the descriptor of w, which blocks, as the daemon's does.
	fd, err := unix.Open(fmt.Sprint("/proc/self/fd/", s.w.Fd()), unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		s.t.Fatal(err)
	}
	defer unix.Close(fd)
	for size := unix.Getpagesize(); size > 0; { // whole pages, then what is left of the last one
		if _, err := unix.Write(fd, make([]byte, size)); err == unix.EAGAIN {
			size /= 2
		} else if err != nil {
			s.t.Fatal(err)
		}
	}
}

// Read reads the pipe from now on, into the daemon's log.
func (s *SlowStderr) Read() { go io.Copy(&s.d.logs, s.r) }
