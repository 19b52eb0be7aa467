//go:build !autorestart_portable

// Descriptors.
//
//	call             since    without it
//	F_DUPFD_CLOEXEC  2.6.24   -
//	memfd_create(2)  3.17     an unlinked file in the temporary directory
//	MFD_NOEXEC_SEAL  6.3      a memfd that could be executed

package sys

import (
	"os"

	"golang.org/x/sys/unix"
)

// Duplicate returns another descriptor, close-on-exec and above the standard
// streams, of what fd has open. The caller owns it.
func Duplicate(fd int) (*FD, error) {
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, firstAboveStandard)
	if err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	return NewFD(dup), nil
}

// MemoryFile returns a descriptor, close-on-exec, of a file without a name that
// holds b. Its content is sealed where the kernel can do that.
func MemoryFile(b []byte) (*FD, error) {
	const flags = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	n, err := unix.MemfdCreate("autorestart", flags|unix.MFD_NOEXEC_SEAL)
	if err == unix.EINVAL {
		n, err = unix.MemfdCreate("autorestart", flags)
	}
	fd, err := AboveStandard(n, err)
	if err != nil {
		return unlinkedFile(b)
	}
	if err := writeAll(fd.Int(), b); err != nil {
		fd.Close()
		return nil, os.NewSyscallError("write", err)
	}
	// The seals protect our own data from ourselves: it works without them.
	const seals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	unix.FcntlInt(uintptr(fd.Int()), unix.F_ADD_SEALS, seals)
	return fd, nil
}

func writeAll(fd int, b []byte) error {
	for len(b) > 0 {
		n, err := IgnoringEINTR(func() (int, error) { return unix.Write(fd, b) })
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}
