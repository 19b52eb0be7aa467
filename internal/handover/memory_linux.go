//go:build !autorestart_portable

// Files without a name, for what crosses the exec.
//
//	call             since    without it
//	memfd_create(2)  3.17     an unlinked file in the temporary directory
//	MFD_NOEXEC_SEAL  6.3      a memfd that could be executed

package handover

import (
	"runtime"
	"syscall"
	"unsafe"
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

// memfdCreateNumber returns the number of the system call, which package syscall does not
// have for the older machines; 0 where it is not known.
func memfdCreateNumber() uintptr {
	switch runtime.GOARCH {
	case "amd64":
		return 319
	case "arm64", "loong64", "riscv64":
		return 279
	case "386":
		return 356
	case "arm":
		return 385
	case "mips", "mipsle":
		return 4354
	case "mips64", "mips64le":
		return 5314
	case "ppc64", "ppc64le":
		return 360
	case "s390x":
		return 350
	}
	return 0
}

func rawMemfdCreate(name string, flags uintptr) (fd int, err error) {
	number := memfdCreateNumber()
	if number == 0 {
		return -1, syscall.ENOSYS
	}
	text, err := syscall.BytePtrFromString(name)
	if err != nil {
		return -1, err
	}
	return retryEINTR(func() (int, error) {
		n, _, errno := syscall.Syscall(number, uintptr(unsafe.Pointer(text)), flags, 0)
		if errno != 0 {
			return -1, errno
		}
		return int(n), nil
	})
}
