// Package sys wraps the system calls that more than one package needs: descriptors
// with an owner, the retry after EINTR, files without a name, stat(2). On systems
// where something can't be done, it returns an error that wraps
// [errors.ErrUnsupported].
package sys

import (
	"errors"
	"os"
)

// FD is a file descriptor and its owner. Whoever has the FD closes it or passes it
// on; the number alone gives no right to either.
type FD struct{ n int }

const closed = -1

// firstAboveStandard is the lowest descriptor that is not a standard stream. What
// crosses an exec never has a lower one: the program may have closed a standard
// stream, and the next image would take the descriptor for it.
const firstAboveStandard = 3

// NewFD takes over the descriptor n.
func NewFD(n int) *FD { return &FD{n} }

// Int returns the number, or -1 after Close and Release.
func (fd *FD) Int() int { return fd.n }

// Release returns the number and gives up the descriptor: the caller owns it.
func (fd *FD) Release() int {
	n := fd.n
	fd.n = closed
	return n
}

// Close closes the descriptor. Further calls do nothing.
func (fd *FD) Close() error {
	if fd.n == closed {
		return nil
	}
	return closeDescriptor(fd.Release())
}

// File makes an [os.File] of the descriptor, which then belongs to that.
func (fd *FD) File(name string) *os.File { return os.NewFile(uintptr(fd.Release()), name) }

// ErrNotRegular is the error for a file that is not opened because it is a directory, a
// device, a FIFO or a socket.
var ErrNotRegular = errors.New("not a regular file")

// FileStat is what stat(2) tells of a file.
type FileStat struct {
	Dev, Ino     uint64
	Size         int64 // bytes
	Mtime, Ctime int64 // nanoseconds since 1970
	UID, GID     uint32
	Perm         uint32 // the lower twelve bits of the mode
	Regular      bool
}

// LinkStat is what lstat(2) tells.
type LinkStat struct {
	FileStat
	Directory, Symlink bool
}
