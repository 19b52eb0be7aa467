//go:build !autorestart_portable

package autorestart

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// openForWriting reports whether anybody is known to have f open for writing.
// The kernel grants a read lease, F_SETLEASE in fcntl(2), only on a file that
// nobody has. To whom it grants none at all, because the file is another user's
// or the file system has no leases, AT_EXECVE_CHECK of execveat(2) says what
// execve would: since Linux 6.14. Otherwise execve itself answers ETXTBSY.
func openForWriting(f *os.File) bool {
	fd := int(f.Fd())
	switch _, err := unix.FcntlInt(uintptr(fd), unix.F_SETLEASE, unix.F_RDLCK); err {
	case nil:
		unix.FcntlInt(uintptr(fd), unix.F_SETLEASE, unix.F_UNLCK)
		return false
	case unix.EAGAIN:
		return true
	}
	return execveCheck(fd) == unix.ETXTBSY
}

// fileDescriptor returns the number of f's descriptor, which f keeps: the caller
// must not let go of f while using it.
func fileDescriptor(f *os.File) (int, error) {
	fd := int(f.Fd())
	if fd < 0 {
		return fd, os.ErrClosed
	}
	return fd, nil
}

// execveCheck asks whether the kernel would execute the file, without doing so.
// A kernel that can't be asked refuses the flag.
func execveCheck(fd int) unix.Errno {
	const atExecveCheck = 0x10000
	var empty [1]byte
	var none [1]*byte
	_, _, errno := unix.Syscall6(unix.SYS_EXECVEAT, uintptr(fd), uintptr(unsafe.Pointer(&empty)),
		uintptr(unsafe.Pointer(&none)), uintptr(unsafe.Pointer(&none)), unix.AT_EMPTY_PATH|atExecveCheck, 0)
	return errno
}

// mayExecute asks with the effective IDs, as execve does: faccessat2(2), Linux
// 5.8. Without it the mode tells whether anybody may, and execve who.
func mayExecute(path string, id fileID) error {
	err := unix.Faccessat2(unix.AT_FDCWD, path, unix.X_OK, unix.AT_EACCESS)
	if err != unix.ENOSYS && err != unix.EPERM {
		return err
	}
	if id.perm&0o111 == 0 {
		return unix.EACCES
	}
	return nil
}

// lacksCapabilities reports whether f has no file capabilities while the running
// image was given some, see capabilities(7): they go with the inode, and whoever
// deploys has to set them again.
func lacksCapabilities(f, running *os.File) bool {
	return running != nil && hasCapabilities(running) && !hasCapabilities(f)
}

func hasCapabilities(f *os.File) bool {
	size, _ := unix.Fgetxattr(int(f.Fd()), "security.capability", nil)
	return size > 0
}

// privileges returns what this process may do beyond what its user may.
func privileges() credentials {
	c := credentials{euid: uint32(unix.Geteuid())}
	c.privileged = c.euid == 0 || unix.Getuid() != unix.Geteuid() || unix.Getgid() != unix.Getegid()
	if c.privileged {
		return c
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err == nil {
		c.privileged = data[0].Permitted|data[1].Permitted != 0
	}
	return c
}
