//go:build !autorestart_portable

// The page as a file.
//
//	call                since    without it
//	memfd_create(2)     3.17     there are no status pages
//	MFD_NOEXEC_SEAL     6.3      a memfd that could be executed
//	/proc/PID/fd        2.2      no process can open the page; the daemon looks for requests once a second
//	inotify(7)          2.6.13   both sides look once a second
//	F_OFD_SETLK         3.15     two processes may write a request into the same place, and one of them waits in vain
//	pidfd_open(2)       5.3      the end of the process is noticed within a second
//	NSpid in status     4.1      the page of another process that was passed to this one is not noticed
//
// A write by the descriptor that memfd_create has returned is no event of inotify on Linux 6.14 and
// later. A write by a descriptor that was opened anew is.

package statuspage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/sys"
)

// memfdName is the name of the memfd. The link in /proc/PID/fd leads to linkTarget.
const (
	memfdName  = "autorestart-status"
	linkTarget = "/memfd:" + memfdName + " (deleted)"
)

// createFile returns a memfd whose size can't be changed.
func createFile(size int64) (*os.File, error) {
	const flags = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := sys.AboveStandard(unix.MemfdCreate(memfdName, flags|unix.MFD_NOEXEC_SEAL))
	if err == unix.EINVAL {
		fd, err = sys.AboveStandard(unix.MemfdCreate(memfdName, flags))
	}
	if err != nil {
		if err == unix.ENOSYS {
			err = errors.ErrUnsupported
		}
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := fd.File(memfdName)
	if err := f.Truncate(size); err != nil {
		f.Close()
		return nil, err
	}
	if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL); err != nil {
		f.Close()
		return nil, os.NewSyscallError("fcntl", err)
	}
	return f, nil
}

// reopen opens the file of a descriptor again, in its place, so that writes by it are events. If that is
// not possible, the file stays as it is. The descriptor is valid all the time, and an exec that has begun to
// pass it on comes first.
func reopen(f *os.File) {
	again, err := openAgain(int(f.Fd()))
	if err != nil {
		return
	}
	defer again.Close()
	syscall.ForkLock.Lock()
	defer syscall.ForkLock.Unlock()
	sys.RetryEINTR(func() error { return unix.Dup3(int(again.Fd()), int(f.Fd()), unix.O_CLOEXEC) })
}

// openAgain opens the file of a descriptor again. It does not wait for a process that holds a lease.
func openAgain(fd int) (*os.File, error) {
	path := descriptorPath(fd)
	again, err := sys.Open(path, unix.O_RDWR|unix.O_NONBLOCK|unix.O_NOCTTY)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	unix.FcntlInt(uintptr(again.Int()), unix.F_SETFL, 0) // O_NONBLOCK would have Go's poller try it
	return again.File(memfdName), nil
}

func descriptorPath(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// checkFile returns [ErrNoPage] unless f can be a page. f may be open with O_PATH; then the seals
// are not checked.
func checkFile(f *os.File) error {
	var st unix.Stat_t
	var system unix.Statfs_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	if err := sys.RetryEINTR(func() error { return unix.Fstatfs(int(f.Fd()), &system) }); err != nil {
		return os.NewSyscallError("fstatfs", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Nlink != 0 || st.Size != pageSize || uint32(system.Type) != unix.TMPFS_MAGIC {
		return ErrNoPage
	}
	const wanted = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW
	seals, err := unix.FcntlInt(f.Fd(), unix.F_GET_SEALS, 0)
	if err != unix.EBADF && (err != nil || seals&wanted != wanted) { // EBADF is the answer to O_PATH
		return ErrNoPage
	}
	return nil
}

// watch returns an inotify descriptor that is readable after a write into the file.
func watch(f *os.File) (*os.File, error) {
	w, err := newWatch()
	if err != nil {
		return nil, err
	}
	if _, err := addWatch(w, f); err != nil {
		w.Close()
		return nil, err
	}
	return w, nil
}

// newWatch returns an inotify descriptor.
func newWatch() (*os.File, error) {
	fd, err := sys.AboveStandard(unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK))
	if err != nil {
		return nil, os.NewSyscallError("inotify_init1", err)
	}
	return fd.File("inotify"), nil
}

// addWatch has an inotify descriptor be readable after a write into the file too, and returns the watch descriptor.
func addWatch(w, f *os.File) (wd int, err error) {
	conn, err := w.SyscallConn()
	if err != nil {
		return 0, err
	}
	controlErr := conn.Control(func(fd uintptr) {
		wd, err = unix.InotifyAddWatch(int(fd), descriptorPath(int(f.Fd())), unix.IN_MODIFY)
	})
	if controlErr != nil {
		return 0, controlErr
	}
	return wd, os.NewSyscallError("inotify_add_watch", err)
}

// removeWatch undoes addWatch.
func removeWatch(w *os.File, wd int) {
	if conn, err := w.SyscallConn(); err == nil {
		conn.Control(func(fd uintptr) { unix.InotifyRmWatch(int(fd), uint32(wd)) })
	}
}

// watchesIn returns the watch descriptors of events. That of an overflow is -1.
func watchesIn(events []byte) (wds []int) {
	for len(events) >= unix.SizeofInotifyEvent {
		name := binary.NativeEndian.Uint32(events[12:])
		wds = append(wds, int(int32(binary.NativeEndian.Uint32(events))))
		events = events[min(len(events), unix.SizeofInotifyEvent+int(name)):]
	}
	return wds
}

// maxPages is the number of files with the name of a page that are looked at. A daemon has two for
// a moment: its own descriptor and the one that crosses the exec.
const maxPages = 16

// openPages opens what may be pages of a process. The files are open for reading and writing.
func openPages(pid int) (pages []*os.File, err error) {
	dir := "/proc/" + strconv.Itoa(pid) + "/fd"
	paths, err := pagePaths(dir)
	if err != nil {
		return nil, err
	}
	err = ErrNoPage
	for _, path := range paths[:min(len(paths), maxPages)] {
		f, openErr := openPage(path)
		if openErr != nil {
			err = openErr
			continue
		}
		pages = append(pages, f)
	}
	if len(pages) == 0 {
		return nil, err
	}
	return pages, nil
}

// pagePaths returns the links in a directory of descriptors that lead to a page by their name. Without
// any descriptor it returns errNoFiles.
func pagePaths(dir string) (paths []string, err error) {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if _, err := os.Stat("/proc/self/fd"); err != nil {
			return nil, err // there is no /proc
		}
		return nil, ErrNoProcess
	case errors.Is(err, unix.ESRCH):
		return nil, ErrNoProcess // it has ended
	case err == nil && len(entries) == 0, errors.Is(err, fs.ErrPermission) && hasNoMainThread(dir):
		return nil, errNoFiles
	case err != nil:
		return nil, err
	}
	for _, entry := range entries {
		path := filepath.Join(dir, entry.Name())
		target, err := os.Readlink(path)
		if errors.Is(err, fs.ErrPermission) {
			return nil, err
		}
		if err == nil && target == linkTarget {
			paths = append(paths, path)
		}
	}
	return paths, nil
}

// hasNoMainThread reports whether the main thread of a process has ended, by its directory of descriptors.
// That then belongs to root.
func hasNoMainThread(dir string) bool {
	stat, _ := os.ReadFile(filepath.Join(filepath.Dir(dir), "stat"))
	_, rest, _ := strings.Cut(string(stat[bytes.LastIndexByte(stat, ')')+1:]), " ")
	return strings.HasPrefix(rest, "Z")
}

// openPage opens a page. It looks at the file before it opens it: by now the path may lead to
// something else, such as a FIFO or a device, which an open would change.
func openPage(path string) (*os.File, error) {
	fd, err := sys.Open(path, unix.O_PATH)
	if err != nil {
		if err == unix.ENOENT {
			return nil, ErrNoPage
		}
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	there := fd.File(path)
	defer there.Close()
	if err := checkFile(there); err != nil {
		return nil, err
	}
	f, err := openAgain(int(there.Fd()))
	if err != nil {
		return nil, err
	}
	if err := checkFile(f); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// isOpenIn reports whether a process has the page open. An error means that there is no telling.
func isOpenIn(pid int, page *os.File) (bool, error) {
	paths, err := pagePaths("/proc/" + strconv.Itoa(pid) + "/fd")
	if err != nil {
		return false, err
	}
	want, err := sys.StatFile(page)
	if err != nil {
		return false, err
	}
	for _, path := range paths {
		if st, err := sys.Stat(path); err == nil && st.Dev == want.Dev && st.Ino == want.Ino {
			return true, nil
		}
	}
	return false, nil
}

// innermostPID returns the PID that the process itself sees, or 0 if it is not known.
func innermostPID(pid int) int {
	status, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "NSpid:"); ok {
			fields := strings.Fields(rest)
			if len(fields) == 0 {
				return 0
			}
			n, _ := strconv.Atoi(fields[len(fields)-1])
			return n
		}
	}
	return 0
}

// lockRequest locks one of the places for requests that no living process has locked, and returns its
// index. The lock ends when f is closed.
func lockRequest(f *os.File) (index int, err error) {
	first := rand.IntN(numRequests)
	for i := range numRequests {
		index = (first + i) % numRequests
		lock := unix.Flock_t{Type: unix.F_WRLCK, Start: requestsAt + int64(index)*requestSize, Len: requestSize}
		err := sys.RetryEINTR(func() error { return unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &lock) })
		switch err {
		case nil, unix.EINVAL: // EINVAL: the kernel does not have these locks
			return index, nil
		case unix.EAGAIN, unix.EACCES:
		default:
			return 0, os.NewSyscallError("fcntl", err)
		}
	}
	return 0, ErrBusy
}

// unlockRequest ends the lock of the place at the offset.
func unlockRequest(f *os.File, offset int64) {
	lock := unix.Flock_t{Type: unix.F_UNLCK, Start: offset, Len: requestSize}
	sys.RetryEINTR(func() error { return unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &lock) })
}

// openProcess returns a descriptor of a process that is readable when the process has ended.
func openProcess(pid int) (*os.File, error) {
	fd, err := sys.AboveStandard(unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK))
	if err == unix.EINVAL { // before Linux 5.10
		if fd, err = sys.AboveStandard(unix.PidfdOpen(pid, 0)); err == nil {
			err = unix.SetNonblock(fd.Int(), true)
		}
	}
	switch err {
	case nil:
		return fd.File("pidfd"), nil
	case unix.ESRCH:
		return nil, ErrNoProcess
	}
	return nil, os.NewSyscallError("pidfd_open", err)
}

// waitForEnd waits until the process of openProcess has ended. It reports false if the descriptor is
// closed before.
func waitForEnd(process *os.File) bool {
	conn, err := process.SyscallConn()
	if err != nil {
		return false
	}
	return conn.Read(func(fd uintptr) bool {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, 0)
		return err == nil && n > 0
	}) == nil
}
