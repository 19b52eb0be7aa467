//go:build !autorestart_portable

// Questions of candidates to the kernel.
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

package files

import (
	"bytes"
	"errors"
	"os"
	"strconv"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/candidate"
	"github.com/autorestart-go/autorestart/internal/elfimage"
	"github.com/autorestart-go/autorestart/internal/sys"
	"github.com/autorestart-go/autorestart/internal/watch"
)

// A View is the [candidate.System] of a process that has the rights of the calling thread, and that
// executes Image: of this process, or of one for which this process has given up its rights.
type View struct {
	Image    string        // a path that leads to the running image, whatever has become of its path; "" if there is none
	Mounts   string        // a file like /proc/self/mountinfo
	LaunchID candidate.ID  // of the running image when the process started
	Kind     elfimage.Kind // of the running image; zero if it is not known

	// Emulated: an emulator of its machine executes the image, so that others can write the file.
	Emulated bool

	mapped atomic.Bool // every owner is known, and will be: an ID map is written once
}

// OpenForWriting reports whether any process is known to have f open for writing. The
// kernel grants a read lease only on a file that none has. It grants none at all if the
// file belongs to another user or the file system has no leases; then the check of
// execveat says what execve would.
func (*View) OpenForWriting(f candidate.File) bool {
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
func (*View) MayExecute(path string, id candidate.ID) error {
	err := unix.Faccessat2(unix.AT_FDCWD, path, unix.X_OK, unix.AT_EACCESS)
	if err != unix.ENOSYS && err != unix.EPERM {
		return err
	}
	if id.Perm&0o111 == 0 {
		return unix.EACCES
	}
	return nil
}

func (*View) HasCapabilities(f candidate.File) bool {
	fd := int(f.(*os.File).Fd())
	if size, _ := unix.Fgetxattr(fd, "security.capability", nil); size <= 0 {
		return false
	}
	// mnt_may_suid in the kernel: execve ignores the capabilities then.
	var st unix.Statfs_t
	err := sys.RetryEINTR(func() error { return unix.Fstatfs(fd, &st) })
	return err != nil || st.Flags&unix.ST_NOSUID == 0
}

func (*View) Credentials() candidate.Credentials {
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

func (v *View) Namespace() candidate.Namespace {
	if v.mapped.Load() {
		return candidate.Namespace{}
	}
	uids, single := readIDMap("/proc/self/uid_map")
	gids, _ := readIDMap("/proc/self/gid_map")
	if uids && gids {
		v.mapped.Store(true)
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
	content, err := sys.ReadAll(path, make([]byte, 0, 64), most)
	if err != nil {
		return false, false
	}
	return candidate.ParseIDMap(string(content))
}

// readID returns the default of the kernel where the file can't be read.
func readID(path string) uint32 {
	var buf [16]byte
	content, err := sys.ReadSmall(path, buf[:])
	if n, ok := sys.ParseDecimal(bytes.TrimSuffix(content, []byte{'\n'})); ok && err == nil {
		return uint32(n)
	}
	return 65534
}

func (*View) Entry(path string) (candidate.Entry, error) {
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

func (v *View) RunningEntry() (candidate.Entry, error) {
	id, changed, err := v.Running()
	if err != nil {
		return candidate.Entry{}, err
	}
	if id.Dev != v.LaunchID.Dev || id.Ino != v.LaunchID.Ino { // a copy in memory
		return candidate.Entry{ID: v.LaunchID}, nil
	}
	e := candidate.Entry{ID: id, Mount: mountID(v.Image, 0, id.Dev)}
	if !changed {
		e.ACL, e.ACLErr = readACL(v.Image, id.Perm)
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

// KeepsReplaced reports whether the file at the path is mounted by itself, so that no other file
// that is put in its place elsewhere is seen here.
func (v *View) KeepsReplaced(path string) bool {
	var st unix.Statx_t
	err := sys.RetryEINTR(func() error { return unix.Statx(unix.AT_FDCWD, path, 0, unix.STATX_TYPE|unix.STATX_MNT_ID, &st) })
	if err != nil || st.Mask&unix.STATX_MNT_ID == 0 || st.Mode&unix.S_IFMT != unix.S_IFREG || st.Attributes&unix.STATX_ATTR_MOUNT_ROOT == 0 {
		return false
	}
	content, _ := sys.ReadMounts(v.Mounts)
	return candidate.KeepsReplaced(string(content), strconv.FormatUint(st.Mnt_id, 10))
}

func (v *View) Mount(path string, dev uint64) (m candidate.Mount) {
	var st unix.Statfs_t
	if err := sys.RetryEINTR(func() error { return unix.Statfs(path, &st) }); err != nil {
		m.Err = os.NewSyscallError("statfs", err)
		return m
	}
	m.NoSUID = st.Flags&unix.ST_NOSUID != 0
	if uint32(st.Type) != unix.FUSE_SUPER_MAGIC {
		return m
	}
	content, err := sys.ReadMounts(v.Mounts)
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

// Running returns the ID of the running image, and whether its file has another content by
// now. It needs no permission to read the image, unlike OpenRunning. It fails without /proc.
//
// A path-based FUSE file system, as bindfs and sshfs, shows what is at the path on its other
// side. On a network file system other machines can write the file, and under an emulator each
// process can.
func (v *View) Running() (id candidate.ID, changed bool, err error) {
	id, err = Stat(v.Image)
	if err != nil || id.SameMark(&v.LaunchID) || v.RunningIsBusy() {
		return id, false, err
	}
	return v.LaunchID, true, nil
}

// RunningID returns, without /proc, the ID that the image had when the process started.
func (v *View) RunningID() candidate.ID {
	if id, _, err := v.Running(); err == nil {
		return id
	}
	return v.LaunchID
}

func (v *View) RunningChanged() bool {
	_, changed, _ := v.Running()
	return changed
}

// OpenRunning fails under an emulator, where the file can be written.
func (v *View) OpenRunning() (candidate.File, error) {
	if v.Emulated {
		return nil, errors.ErrUnsupported
	}
	return os.Open(v.Image)
}

// readUncached has reads of a candidate on FUSE go past the page cache. There a candidate may
// have the pages of the running image: the code that is read would take the place of the code that
// runs.
func readUncached(f *os.File) {
	if name, _ := silentFileSystem("/proc/self/fd/" + strconv.Itoa(int(f.Fd()))); name == fuse {
		unix.FcntlInt(f.Fd(), unix.F_SETFL, unix.O_DIRECT)
	}
}

// RunningIsBusy: to open for writing a file that is being executed fails with ETXTBSY. What
// can change a file without an event can do it without this error, too. Under an emulator only
// the emulator's file is executed.
func (v *View) RunningIsBusy() bool {
	if v.Emulated {
		return false
	}
	name, err := silentFileSystem(v.Image)
	return err == nil && name == ""
}

// RunningIsCoherent: on FUSE the kernel caches what stat(2) tells, and the pages of a path.
func (v *View) RunningIsCoherent() bool {
	name, err := silentFileSystem(v.Image)
	return err == nil && name != fuse
}

// RunningIsOnFUSE reports whether the file of the running image is on a FUSE file system.
func (v *View) RunningIsOnFUSE() bool {
	name, _ := silentFileSystem(v.Image)
	return name == fuse
}

const fuse = "fuse" // the name in package watch

// silentFileSystem returns the name of the file system of the path if that can change
// without an event.
func silentFileSystem(path string) (name string, err error) {
	magic, err := sys.FileSystemType(path)
	return watch.SilentFileSystem(magic), err
}

// HoldLease keeps writers away from f: a process that opens it for writing waits until
// EndLease, or for fs/lease-break-time in proc(5). It reports whether the kernel grants that, see
// OpenForWriting. No signal tells that a writer waits: during an exec SIGIO would end the
// process.
func (*View) HoldLease(f candidate.File) bool {
	fd := f.(*os.File).Fd()
	if _, err := unix.FcntlInt(fd, unix.F_SETLEASE, unix.F_RDLCK); err != nil {
		return false
	}
	unix.FcntlInt(fd, unix.F_SETOWN, 0)
	return true
}

// EndLease lets writers have f.
func (*View) EndLease(f candidate.File) {
	unix.FcntlInt(f.(*os.File).Fd(), unix.F_SETLEASE, unix.F_UNLCK)
}

// LeaseIsBreaking reports whether a writer waits for the end of the lease on f, or has
// waited too long.
func (*View) LeaseIsBreaking(f candidate.File) bool {
	kind, err := unix.FcntlInt(f.(*os.File).Fd(), unix.F_GETLEASE, 0)
	return err == nil && kind != unix.F_RDLCK
}
