//go:build unix

package autorestart

import (
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// duplicate returns another descriptor of f, close-on-exec and never that of a
// standard stream. It leaves f as it is, unlike [os.File.Fd].
func duplicate(f *os.File) (fd int, err error) {
	conn, err := f.SyscallConn()
	if err != nil {
		return -1, err
	}
	if ctl := conn.Control(func(own uintptr) { fd, err = duplicateFD(int(own)) }); ctl != nil {
		return -1, ctl
	}
	return fd, err
}

func duplicateFD(fd int) (int, error) {
	// Not every system has F_DUPFD_CLOEXEC.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD, 3)
	if err != nil {
		return -1, os.NewSyscallError("fcntl", err)
	}
	unix.CloseOnExec(dup)
	return dup, nil
}

func closeDescriptor(fd int) { syscall.Close(fd) }

// newUnlinkedFile returns a descriptor, close-on-exec, of a file that has no name
// any more.
func newUnlinkedFile(b []byte) (fd int, err error) {
	f, err := os.CreateTemp("", "autorestart-")
	if err != nil {
		return 0, err
	}
	defer f.Close()
	if err := os.Remove(f.Name()); err != nil {
		return 0, err
	}
	if _, err := f.Write(b); err != nil {
		return 0, err
	}
	return duplicate(f)
}

// readMemoryFile reads all of what newMemoryFile has made.
func readMemoryFile(fd int) ([]byte, error) {
	dup, err := duplicateFD(fd)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(dup), "manifest")
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	b := make([]byte, info.Size())
	n, err := f.ReadAt(b, 0)
	if err == io.EOF {
		err = nil
	}
	return b[:n], err
}
