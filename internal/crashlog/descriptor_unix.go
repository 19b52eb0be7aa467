//go:build unix

package crashlog

import (
	"io"
	"os"
	"syscall"
)

// A Descriptor is a [File] by its descriptor, which the caller owns. It uses no file offset,
// so other descriptors of the same file don't disturb it.
type Descriptor int

// ReadAt wraps pread(2).
func (fd Descriptor) ReadAt(b []byte, offset int64) (n int, err error) {
	for n < len(b) {
		got, err := syscall.Pread(int(fd), b[n:], offset+int64(n))
		switch {
		case err == syscall.EINTR:
		case err != nil:
			return n, os.NewSyscallError("pread", err)
		case got == 0:
			return n, io.EOF
		default:
			n += got
		}
	}
	return n, nil
}

// WriteAt wraps pwrite(2).
func (fd Descriptor) WriteAt(b []byte, offset int64) (n int, err error) {
	for n < len(b) {
		wrote, err := syscall.Pwrite(int(fd), b[n:], offset+int64(n))
		switch {
		case err == syscall.EINTR:
		case err != nil:
			return n, os.NewSyscallError("pwrite", err)
		case wrote == 0:
			return n, io.ErrShortWrite
		default:
			n += wrote
		}
	}
	return n, nil
}
