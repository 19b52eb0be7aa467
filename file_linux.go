//go:build !autorestart_portable

// What candidates ask of the kernel.
//
//	call                             since   without it
//	faccessat2(2)                    5.8     the mode says whether anyone may execute the file
//	F_SETLEASE in fcntl(2)           2.4     execveat with AT_EXECVE_CHECK; a file that was verified can be written
//	AT_EXECVE_CHECK in execveat(2)   6.14    execve answers ETXTBSY
//	security.capability, capget(2)   2.6.24  no file has capabilities

package autorestart

import (
	"os"
	"runtime"
	"strconv"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/candidate"
	"github.com/autorestart-go/autorestart/internal/elfimage"
	"github.com/autorestart-go/autorestart/internal/sys"
)

// fileSystem is the [candidate.System] of this process.
type fileSystem struct {
	launchID candidate.ID // of the file at the launch path when the process started

	// interpreted: an interpreter runs this image, see binfmt_misc in proc(5), as an emulator
	// of its machine. It shows the image as /proc/self/exe to who opens that.
	interpreted atomic.Bool
}

// newFileSystem is called while the package is initialised. Linux needs no launch path.
func newFileSystem(_ string, launchID candidate.ID) *fileSystem {
	return &fileSystem{launchID: launchID}
}

// OpenForWriting reports whether any process is known to have f open for writing. The
// kernel grants a read lease only on a file that none has. It grants none at all if the
// file belongs to another user or the file system has no leases; then the check of
// execveat says what execve would.
func (*fileSystem) OpenForWriting(f candidate.File) bool {
	fd := int(f.(*os.File).Fd())
	switch _, err := unix.FcntlInt(uintptr(fd), unix.F_SETLEASE, unix.F_RDLCK); err {
	case nil:
		unix.FcntlInt(uintptr(fd), unix.F_SETLEASE, unix.F_UNLCK)
		return false
	case unix.EAGAIN:
		return true
	}
	return execveCheck(fd) == unix.ETXTBSY
}

// execveCheck returns the answer that execve would get, without executing the file. A
// kernel that does not know the flag refuses it.
func execveCheck(fd int) unix.Errno {
	const atExecveCheck = 0x10000
	var empty [1]byte
	var none [1]*byte
	_, _, errno := unix.Syscall6(unix.SYS_EXECVEAT, uintptr(fd), uintptr(unsafe.Pointer(&empty)),
		uintptr(unsafe.Pointer(&none)), uintptr(unsafe.Pointer(&none)), unix.AT_EMPTY_PATH|atExecveCheck, 0)
	return errno
}

// MayExecute asks with the effective IDs, as execve does.
func (*fileSystem) MayExecute(path string, id candidate.ID) error {
	err := unix.Faccessat2(unix.AT_FDCWD, path, unix.X_OK, unix.AT_EACCESS)
	if err != unix.ENOSYS && err != unix.EPERM {
		return err
	}
	if id.Perm&0o111 == 0 {
		return unix.EACCES
	}
	return nil
}

func (*fileSystem) HasCapabilities(f candidate.File) bool {
	size, _ := unix.Fgetxattr(int(f.(*os.File).Fd()), "security.capability", nil)
	return size > 0
}

func (*fileSystem) Credentials() candidate.Credentials {
	c := candidate.CredentialsOf(unix.Getuid(), unix.Geteuid(), unix.Getgid(), unix.Getegid())
	if c.Privileged {
		return c
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err == nil {
		c.Privileged = data[0].Permitted|data[1].Permitted != 0
	}
	return c
}

// RunningID needs no permission to read the image, unlike OpenRunning. Without /proc it
// returns the ID of the file that was at the launch path.
func (s *fileSystem) RunningID() candidate.ID {
	if id, err := statID(sys.Stat(selfExe)); err == nil {
		return id
	}
	return s.launchID
}

func (s *fileSystem) OpenRunning() (candidate.File, error) {
	f, err := os.Open(selfExe)
	if err != nil {
		return nil, err
	}
	shown, err := sys.StatFile(f)
	real, realErr := sys.Stat(selfExe)
	s.interpreted.Store(err == nil && realErr == nil && (shown.Dev != real.Dev || shown.Ino != real.Ino))
	return f, nil
}

// RunningIsBusy: to open for writing a file that is being executed fails with ETXTBSY.
// Some file systems, as that of NFS clients, can't keep other machines from it; Linux
// 6.11 allowed it.
func (*fileSystem) RunningIsBusy() bool { return true }

// RunningKind returns the kind that this program was built as, without reading it. For
// a machine that is not known here, execve has the last word.
func (*fileSystem) RunningKind() elfimage.Kind {
	return elfimage.KindOf(runtime.GOARCH, strconv.IntSize)
}

// holdLease keeps writers away from f until it is closed: who opens it for writing waits,
// for fs/lease-break-time in proc(5) at most. It reports whether the kernel grants that, see
// OpenForWriting. No signal tells that a writer waits: during an exec SIGIO would end the
// process.
func (*fileSystem) holdLease(f candidate.File) bool {
	fd := f.(*os.File).Fd()
	if _, err := unix.FcntlInt(fd, unix.F_SETLEASE, unix.F_RDLCK); err != nil {
		return false
	}
	unix.FcntlInt(fd, unix.F_SETOWN, 0)
	return true
}

// endLease lets writers have f.
func (*fileSystem) endLease(f candidate.File) {
	unix.FcntlInt(f.(*os.File).Fd(), unix.F_SETLEASE, unix.F_UNLCK)
}

// leaseIsBreaking reports whether a writer waits for the end of the lease on f, or has
// waited too long.
func (*fileSystem) leaseIsBreaking(f candidate.File) bool {
	kind, err := unix.FcntlInt(f.(*os.File).Fd(), unix.F_GETLEASE, 0)
	return err == nil && kind != unix.F_RDLCK
}
