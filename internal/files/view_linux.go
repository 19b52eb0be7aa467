//go:build !autorestart_portable

// What candidates ask of the kernel.
//
//	call                             since   without it
//	faccessat2(2)                    5.8     the mode says whether anyone may execute the file
//	F_SETLEASE in fcntl(2)           2.4     execveat with AT_EXECVE_CHECK; a file that was verified can be written
//	AT_EXECVE_CHECK in execveat(2)   6.14    execve answers ETXTBSY
//	security.capability, capget(2)   2.6.24  no file has capabilities
//	system.posix_acl_access          2.6     there are no ACLs
//	statx(2): stx_mnt_id             5.8     mounts are told apart by st_dev; no warning of a file mount
//	ST_NOSUID in statfs(2)           2.6.36  no mount has the flag
//	/proc/self/mountinfo             2.6.26  no FUSE file system is trusted; no warning of a file mount
//	/proc/self/uid_map, gid_map      3.5     no file of UID or GID 65534 is trusted

package autorestart

import (
	"bytes"
	"errors"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/candidate"
	"github.com/autorestart-go/autorestart/internal/elfimage"
	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/sys"
)

// fileSystem is the [candidate.System] of this process.
type fileSystem struct {
	launchID candidate.ID // of the running image when the process started
	image    string       // a path that leads to the running image; "" if there is none
	emulated bool         // see isEmulated
	mapped   atomic.Bool  // every owner is known, and will be: an ID map is written once

	saving sync.Mutex
	saved  *os.File // see savedImage
}

// newFileSystem is called while the package is initialised. It takes over the descriptor by
// which this image was executed.
func newFileSystem(launchPath string, inherited *handover.State) *fileSystem {
	told := candidate.ParseID(inherited.Texts[handover.Image]) // by the previous image
	named := told
	if told == (candidate.ID{}) {
		named, _ = statID(sys.Stat(launchPath))
	}
	exe, _ := statID(sys.Stat(selfExe))
	executed := inherited.Number(handover.Executable)
	if isEmulated(exe, named) {
		return &fileSystem{launchID: named, image: emulatedImage(launchPath, named, executed), emulated: true}
	}
	if executed != 0 {
		sys.NewFD(executed).Close()
	}
	return &fileSystem{launchID: launchID(exe, told, named), image: selfExe}
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
	fd := int(f.(*os.File).Fd())
	if size, _ := unix.Fgetxattr(fd, "security.capability", nil); size <= 0 {
		return false
	}
	// mnt_may_suid in the kernel: execve ignores the capabilities then.
	var st unix.Statfs_t
	err := sys.RetryEINTR(func() error { return unix.Fstatfs(fd, &st) })
	return err != nil || st.Flags&unix.ST_NOSUID == 0
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

func (s *fileSystem) Namespace() candidate.Namespace {
	if s.mapped.Load() {
		return candidate.Namespace{}
	}
	uids, single := readIDMap("/proc/self/uid_map")
	gids, _ := readIDMap("/proc/self/gid_map")
	if uids && gids {
		s.mapped.Store(true)
		return candidate.Namespace{}
	}
	return candidate.Namespace{
		SomeUID: !uids, UID: readID("/proc/sys/kernel/overflowuid"),
		SomeGID: !gids, GID: readID("/proc/sys/kernel/overflowgid"),
		Single: single,
	}
}

func readIDMap(path string) (all, single bool) {
	const most = 64 << 10 // 340 lines
	content, err := readAll(path, make([]byte, 0, 64), most)
	if err != nil {
		return false, false
	}
	return candidate.ParseIDMap(string(content))
}

// readID returns the default of the kernel where the file can't be read.
func readID(path string) uint32 {
	var buf [16]byte
	content, err := readSmall(path, buf[:])
	if n, ok := parseDecimal(bytes.TrimSuffix(content, []byte{'\n'})); ok && err == nil {
		return uint32(n)
	}
	return 65534
}

func (*fileSystem) Entry(path string) (candidate.Entry, error) {
	st, err := sys.Lstat(path)
	if err != nil {
		return candidate.Entry{}, err
	}
	e := candidate.Entry{ID: candidate.ID(st.FileStat), Directory: st.Directory}
	if st.Symlink {
		if e.Target, err = os.Readlink(path); err != nil {
			return candidate.Entry{}, err
		}
	} else {
		e.ACL, e.ACLErr = readACL(path, e.Perm)
	}
	e.Mount = mountID(path, unix.AT_SYMLINK_NOFOLLOW, st.Dev)
	return e, nil
}

func (s *fileSystem) RunningEntry() (candidate.Entry, error) {
	id, changed, err := s.running()
	if err != nil {
		return candidate.Entry{}, err
	}
	if id.Dev != s.launchID.Dev || id.Ino != s.launchID.Ino { // a copy in memory
		return candidate.Entry{ID: s.launchID}, nil
	}
	e := candidate.Entry{ID: id, Mount: mountID(s.image, 0, id.Dev)}
	if !changed {
		e.ACL, e.ACLErr = readACL(s.image, id.Perm)
	}
	return e, nil
}

// readACL reads system.posix_acl_access of a file or a directory with such a mode. The
// bits of the mode for the group are the mask of the ACL, see acl(5): without the one for
// writing, the ACL lets no user write.
func readACL(path string, perm uint32) ([]byte, error) {
	const groupWrite, largest = 0o020, 64 << 10 // XATTR_SIZE_MAX
	if perm&groupWrite == 0 {
		return nil, nil
	}
	buf := make([]byte, 256)
	read := func() (int, error) { return unix.Getxattr(path, "system.posix_acl_access", buf) }
	n, err := sys.IgnoringEINTR(read)
	if err == unix.ERANGE {
		buf = make([]byte, largest)
		n, err = sys.IgnoringEINTR(read)
	}
	switch err {
	case nil:
		return buf[:n], nil
	case unix.ENODATA, unix.EOPNOTSUPP:
		return nil, nil
	default:
		return nil, os.NewSyscallError("getxattr", err)
	}
}

// mountID returns the ID of the mount of the path, or the device where the kernel does not
// tell the ID. The flags are those of statx(2).
func mountID(path string, flags int, dev uint64) uint64 {
	var st unix.Statx_t
	err := sys.RetryEINTR(func() error { return unix.Statx(unix.AT_FDCWD, path, flags, unix.STATX_MNT_ID, &st) })
	if err != nil || st.Mask&unix.STATX_MNT_ID == 0 {
		return dev
	}
	return st.Mnt_id
}

// keepsReplaced reports whether the file at the path is mounted by itself, so that no other file
// that is put in its place elsewhere is seen here.
func (*fileSystem) keepsReplaced(path string) bool {
	var st unix.Statx_t
	err := sys.RetryEINTR(func() error { return unix.Statx(unix.AT_FDCWD, path, 0, unix.STATX_TYPE|unix.STATX_MNT_ID, &st) })
	if err != nil || st.Mask&unix.STATX_MNT_ID == 0 || st.Mode&unix.S_IFMT != unix.S_IFREG || st.Attributes&unix.STATX_ATTR_MOUNT_ROOT == 0 {
		return false
	}
	content, _ := readMounts()
	return candidate.KeepsReplaced(string(content), strconv.FormatUint(st.Mnt_id, 10))
}

func (*fileSystem) Mount(path string, dev uint64) (m candidate.Mount) {
	var st unix.Statfs_t
	if err := sys.RetryEINTR(func() error { return unix.Statfs(path, &st) }); err != nil {
		m.Err = os.NewSyscallError("statfs", err)
		return m
	}
	m.NoSUID = st.Flags&unix.ST_NOSUID != 0
	if uint32(st.Type) != unix.FUSE_SUPER_MAGIC {
		return m
	}
	content, err := readMounts()
	uid, ok := candidate.FUSEUser(string(content), deviceNumbers(dev))
	switch {
	case err != nil:
		m.Err = err
	case !ok:
		m.Err = errNoFUSEUser
	}
	m.FUSEUser = uid
	return m
}

var errNoFUSEUser = errors.New("/proc/self/mountinfo does not tell who has mounted it by FUSE")

// deviceNumbers formats a device as /proc/self/mountinfo does.
func deviceNumbers(dev uint64) string {
	return strconv.FormatUint(uint64(unix.Major(dev)), 10) + ":" + strconv.FormatUint(uint64(unix.Minor(dev)), 10)
}

// running returns the ID of the running image, and whether its file has another content by
// now. It needs no permission to read the image, unlike OpenRunning. It fails without /proc.
//
// A path-based FUSE file system, as bindfs and sshfs, shows what is at the path on its other
// side. On a network file system other machines can write the file, and under an emulator each
// process can.
func (s *fileSystem) running() (id candidate.ID, changed bool, err error) {
	id, err = statID(sys.Stat(s.image))
	if err != nil || id.Mark() == s.launchID.Mark() || s.RunningIsBusy() {
		return id, false, err
	}
	return s.launchID, true, nil
}

// RunningID returns, without /proc, the ID that the image had when the process started.
func (s *fileSystem) RunningID() candidate.ID {
	if id, _, err := s.running(); err == nil {
		return id
	}
	return s.launchID
}

func (s *fileSystem) RunningChanged() bool {
	_, changed, _ := s.running()
	return changed
}

// OpenRunning fails under an emulator, where the file can be written.
func (s *fileSystem) OpenRunning() (candidate.File, error) {
	if s.emulated {
		return nil, errors.ErrUnsupported
	}
	return os.Open(s.image)
}

// readUncached has reads of a candidate on FUSE go past the page cache. There a candidate may
// have the pages of the running image, see executableCopy: the code that is read would take the
// place of the code that runs.
func readUncached(f *os.File) {
	if name, _ := silentFileSystem(descriptorPath(f)); name == "fuse" {
		unix.FcntlInt(f.Fd(), unix.F_SETFL, unix.O_DIRECT)
	}
}

// RunningIsBusy: to open for writing a file that is being executed fails with ETXTBSY. What
// can change a file without an event can do it without this error, too. Under an emulator only
// the emulator's file is executed.
func (s *fileSystem) RunningIsBusy() bool { return !s.emulated && selfIsBusy() }

// RunningIsCoherent: on FUSE the kernel caches what stat(2) tells, and the pages of a path.
func (*fileSystem) RunningIsCoherent() bool {
	name, err := silentFileSystem(selfExe)
	return err == nil && name != "fuse"
}

func selfIsBusy() bool {
	name, err := silentFileSystem(selfExe)
	return err == nil && name == ""
}

// RunningKind returns the kind that this program was built as, without reading it. For
// a machine that is not known here, execve has the last word.
func (*fileSystem) RunningKind() elfimage.Kind {
	return elfimage.KindOf(runtime.GOARCH, strconv.IntSize)
}

// HoldLease keeps writers away from f: a process that opens it for writing waits until
// EndLease, or for fs/lease-break-time in proc(5). It reports whether the kernel grants that, see
// OpenForWriting. No signal tells that a writer waits: during an exec SIGIO would end the
// process.
func (*fileSystem) HoldLease(f candidate.File) bool {
	fd := f.(*os.File).Fd()
	if _, err := unix.FcntlInt(fd, unix.F_SETLEASE, unix.F_RDLCK); err != nil {
		return false
	}
	unix.FcntlInt(fd, unix.F_SETOWN, 0)
	return true
}

// EndLease lets writers have f.
func (*fileSystem) EndLease(f candidate.File) {
	unix.FcntlInt(f.(*os.File).Fd(), unix.F_SETLEASE, unix.F_UNLCK)
}

// LeaseIsBreaking reports whether a writer waits for the end of the lease on f, or has
// waited too long.
func (*fileSystem) LeaseIsBreaking(f candidate.File) bool {
	kind, err := unix.FcntlInt(f.(*os.File).Fd(), unix.F_GETLEASE, 0)
	return err == nil && kind != unix.F_RDLCK
}
