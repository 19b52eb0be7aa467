//go:build linux

package systemdtest

import (
	"io"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// console is the terminal that is /dev/console of a machine: process 1 writes there what fails before it has a journal.
type console struct {
	path       string // of the terminal
	slave, ptm *os.File
	copied     chan struct{}
}

// openConsole opens a console, which is copied to w.
func openConsole(w io.Writer) (c *console, err error) {
	c = &console{copied: make(chan struct{})}
	if c.ptm, err = os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		return nil, err
	}
	if err := c.openSlave(); err != nil {
		c.ptm.Close()
		return nil, err
	}
	go func() {
		defer close(c.copied)
		io.Copy(w, c.ptm)
	}()
	return c, nil
}

func (c *console) openSlave() error {
	raw, err := c.ptm.SyscallConn()
	if err != nil {
		return err
	}
	var n int
	if controlErr := raw.Control(func(fd uintptr) {
		if err = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); err == nil {
			n, err = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
		}
	}); controlErr != nil {
		return controlErr
	}
	if err != nil {
		return os.NewSyscallError("ioctl", err)
	}
	c.path = "/dev/pts/" + strconv.Itoa(n)
	// As long as this one is open, reads of the other end do not fail.
	c.slave, err = os.OpenFile(c.path, os.O_RDWR|unix.O_NOCTTY, 0)
	return err
}

// close closes the console, of which everything has been copied then. No other process may have it.
func (c *console) close() {
	c.slave.Close()
	<-c.copied
	c.ptm.Close()
}
