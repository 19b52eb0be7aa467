//go:build !autorestart_portable

package autorestart

import (
	"os"

	"golang.org/x/sys/unix"
)

// openForWriting reports whether anybody is known to have f open for writing.
// The kernel grants a read lease, F_SETLEASE in fcntl(2), only on a file that
// nobody has; to whom it grants none at all (the file is another user's, the
// file system has no leases), exec itself still answers ETXTBSY.
func openForWriting(f *os.File) bool {
	conn, err := f.SyscallConn()
	if err != nil {
		return false
	}
	writer := false
	conn.Control(func(fd uintptr) {
		_, err := unix.FcntlInt(fd, unix.F_SETLEASE, unix.F_RDLCK)
		if err == nil {
			unix.FcntlInt(fd, unix.F_SETLEASE, unix.F_UNLCK)
		}
		writer = err == unix.EAGAIN
	})
	return writer
}

// accessFlags has faccessat(2) go by the effective IDs, as execve does: since
// Linux 5.8; before that x/sys works it out of the mode.
const accessFlags = unix.AT_EACCESS
