//go:build !autorestart_portable

// Files without a name, for what crosses an exec.
//
//	call             since    without it
//	memfd_create(2)  3.17     an unlinked file in the temporary directory
//	MFD_NOEXEC_SEAL  6.3      a memfd that could be executed

package autorestart

import (
	"os"

	"golang.org/x/sys/unix"
)

// newMemoryFile returns a descriptor, close-on-exec, of a file that holds b and
// that nobody can change any more.
func newMemoryFile(b []byte) (fd int, err error) {
	const flags = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err = unix.MemfdCreate("autorestart", flags|unix.MFD_NOEXEC_SEAL)
	if err == unix.EINVAL {
		fd, err = unix.MemfdCreate("autorestart", flags)
	}
	if fd, err = aboveStandard(fd, err); err != nil {
		return newUnlinkedFile(b)
	}
	if err := writeAll(fd, b); err != nil {
		unix.Close(fd)
		return 0, os.NewSyscallError("write", err)
	}
	const seals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals) // for our own protection: it works without
	return fd, nil
}

func writeAll(fd int, b []byte) error {
	for len(b) > 0 {
		n, err := unix.Write(fd, b)
		if err != nil && err != unix.EINTR {
			return err
		}
		b = b[max(n, 0):]
	}
	return nil
}
