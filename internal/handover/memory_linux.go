//go:build !autorestart_portable

// Files without a name, for what crosses the exec.
//
//	call             since    without it
//	memfd_create(2)  3.17     an unlinked file in the temporary directory
//	MFD_NOEXEC_SEAL  6.3      a memfd that could be executed

package handover

import (
	"syscall"
	"unsafe"

	"github.com/autorestart-go/autorestart/internal/rawsys"
)

// emptyFile is [MemoryFile] without content and seals.
func emptyFile() (fd int, err error) {
	fd, err = memfdCreate("autorestart")
	if err == nil {
		return fd, nil
	}
	fd, unlinkedErr := unlinkedFile()
	if unlinkedErr != nil && !MayPass(unlinkedErr) {
		return -1, err
	}
	return fd, unlinkedErr
}

// seal protects our own data from ourselves. It works without that, as in an unlinked file.
func seal(fd int) {
	const addSeals, allSeals = 1033, 0xf // against changes of seals, size and content
	syscall.Syscall(syscall.SYS_FCNTL, uintptr(fd), addSeals, allSeals)
}

// inMemory reports whether a file is a memfd, or on a tmpfs: only these have seals.
func inMemory(fd int) bool {
	const getSeals = 1034
	_, _, errno := syscall.Syscall(syscall.SYS_FCNTL, uintptr(fd), getSeals, 0)
	return errno == 0
}

// overwrite writes b over what is at the offset of a file, and leaves the file offset behind it. If
// it fails, what is there stays. It makes raw system calls: right before an exec the runtime can't
// start the thread that it may need for others.
func overwrite(fd int, b []byte, offset int) {
	if _, _, errno := syscall.RawSyscall(syscall.SYS_LSEEK, uintptr(fd), uintptr(offset), 0); errno == 0 {
		syscall.RawSyscall(syscall.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	}
}

// memfdCreate wraps memfd_create(2). The descriptor is close-on-exec and above the
// standard streams, and its content can be sealed.
func memfdCreate(name string) (fd int, err error) {
	const closeOnExec, allowSealing, noExecSeal = 1, 2, 8
	fd, err = rawMemfdCreate(name, closeOnExec|allowSealing|noExecSeal)
	if err == syscall.EINVAL {
		fd, err = rawMemfdCreate(name, closeOnExec|allowSealing)
	}
	return aboveStandard(fd, err)
}

func rawMemfdCreate(name string, flags uintptr) (fd int, err error) {
	text, err := syscall.BytePtrFromString(name)
	if err != nil {
		return -1, err
	}
	return rawsys.IgnoringEINTR(func() (int, error) {
		n, _, errno := syscall.Syscall(rawsys.Numbers.MemfdCreate, uintptr(unsafe.Pointer(text)), flags, 0)
		if errno != 0 {
			return -1, errno
		}
		return int(n), nil
	})
}
