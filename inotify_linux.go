//go:build !autorestart_portable

// Events about the executable's path.
//
//	call                         since    without it
//	inotify_init1(2)             2.6.27   poll
//	inotify_add_watch(2)         2.6.13   poll
//	poll of /proc/self/mountinfo 2.6.31   poll beside the events: they don't tell of mounts
//	statx(2): mount root         5.8      trust that events tell of a file that is mounted by itself
//	statfs(2)                    ever     poll beside the events: they may not tell of every change

package autorestart

import (
	"bytes"
	"context"
	"errors"
	"os"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/candidate"
	"github.com/autorestart-go/autorestart/internal/execve"
	"github.com/autorestart-go/autorestart/internal/sys"
	"github.com/autorestart-go/autorestart/internal/watch"
)

const (
	// stepEvents put another entry under a name on the way, or leave none.
	stepEvents = unix.IN_CREATE | unix.IN_MOVED_TO | unix.IN_DELETE | unix.IN_MOVED_FROM

	// fileEvents can turn the entry under the last name into a version that is ready:
	// its writer closes it, its mode or its capabilities are set.
	fileEvents = stepEvents | unix.IN_CLOSE_WRITE | unix.IN_ATTRIB

	// selfEvents end a watch, or its use.
	selfEvents = unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_IGNORED | unix.IN_UNMOUNT
)

// inotify is the [watch.Source] of one watcher. It has two descriptors in an epoll
// instance, which is itself a descriptor that can be polled: Go's poller waits for both.
type inotify struct {
	set    *eventSet
	fd     *sys.FD  // the queue of events, nonblocking
	mounts *sys.FD  // /proc/self/mountinfo, which is polled and never read; nil until it can be opened
	epoll  int      // the number; file owns the descriptor
	file   *os.File // nonblocking: Go's poller does the waiting
	dirs   watch.Directories
	buf    [16 << 10]byte
}

// Open returns a source of events. The error says why there is none.
func (s *eventSet) Open() (watch.Source, error) {
	epoll, err := sys.AboveStandard(unix.EpollCreate1(unix.EPOLL_CLOEXEC))
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	fd, watches, err := s.take()
	if err != nil {
		epoll.Close()
		return nil, err
	}
	n := &inotify{set: s, fd: fd, epoll: epoll.Int()}
	unix.FcntlInt(uintptr(n.epoll), unix.F_SETFL, unix.O_NONBLOCK) // for Go's poller
	n.file = epoll.File("inotify")
	n.dirs.Inherit(watches)
	if err := n.poll(fd.Int(), unix.EPOLLIN); err != nil {
		n.Close()
		return nil, err
	}
	return n, nil
}

// poll wraps epoll_ctl(2).
func (n *inotify) poll(fd int, events uint32) error {
	event := unix.EpollEvent{Events: events, Fd: int32(fd)}
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(n.epoll, unix.EPOLL_CTL_ADD, fd, &event))
}

// WatchMounts has changes of mounts end a wait, unless they do already.
func (n *inotify) WatchMounts() error {
	if n.mounts != nil {
		return nil
	}
	fd, err := sys.AboveStandard(sys.OpenProc(sys.OwnMounts))
	if err != nil {
		return err
	}
	// It can always be read: only an edge says that there is something new. EPOLLPRI says
	// that too, but once for each change, and Go's poller has it.
	if err := n.poll(fd.Int(), unix.EPOLLIN|epollET); err != nil {
		fd.Close()
		return err
	}
	n.mounts = fd
	return nil
}

func (n *inotify) Close() error {
	n.set.forget(n.fd.Int())
	n.fd.Close()
	if n.mounts != nil {
		n.mounts.Close()
	}
	return n.file.Close()
}

// Arm watches the directories of the path.
func (n *inotify) Arm(path string) (changed bool, err error) {
	changed, err = n.dirs.Arm(n, path)
	if changed {
		n.set.note(n.fd.Int(), n.dirs.Watches())
	}
	return changed, err
}

// ReadLink returns the target of a symbolic link, or an empty one of anything else, also where
// there is no directory.
func (*inotify) ReadLink(name string) (string, error) {
	target, err := os.Readlink(name)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOTDIR) {
		return "", nil
	}
	return target, err
}

// EntryAt wraps statx(2), or lstat(2) where there is no other.
func (*inotify) EntryAt(step candidate.Step) (watch.EntryID, error) {
	var st unix.Statx_t
	name := step.Dir + "/" + step.Name
	err := sys.RetryEINTR(func() error { return unix.Statx(unix.AT_FDCWD, name, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_INO, &st) })
	switch err {
	case nil:
		return watch.EntryID{
			Dev:     unix.Mkdev(st.Dev_major, st.Dev_minor),
			Ino:     st.Ino,
			Mounted: st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0,
		}, nil
	case unix.ENOSYS, unix.EPERM:
		st, _ := sys.Lstat(name)
		return watch.EntryID{Dev: st.Dev, Ino: st.Ino}, nil
	case unix.ENOENT, unix.ENOTDIR:
		err = nil
	}
	return watch.EntryID{}, err
}

// AddWatch wraps inotify_add_watch(2). The mask of a directory only grows, for two steps may
// share it.
func (n *inotify) AddWatch(dir string, ready bool) (wd int, err error) {
	mask := uint32(stepEvents)
	if ready {
		mask = fileEvents
	}
	mask |= unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_ONLYDIR | unix.IN_MASK_ADD
	switch wd, err = unix.InotifyAddWatch(n.fd.Int(), dir, mask); err {
	case nil:
		return wd, nil
	case unix.ENOENT, unix.ENOTDIR:
		return watch.NoDirectory, nil
	default:
		return watch.NoDirectory, &os.PathError{Op: "inotify_add_watch", Path: dir, Err: limitError(err)}
	}
}

func (n *inotify) RemoveWatch(wd int) {
	unix.InotifyRmWatch(n.fd.Int(), uint32(wd)) // EINVAL: the kernel was first
}

func (*inotify) FileSystem(dir string) (magic uint32, err error) { return sys.FileSystemType(dir) }

func (n *inotify) Wait(ctx context.Context, d time.Duration, seen watch.EntryID) (event bool, err error) {
	var deadline time.Time
	if d > 0 {
		deadline = time.Now().Add(d)
	}
	if err := n.file.SetReadDeadline(deadline); err != nil {
		return false, err
	}
	// After the deadline was set, so that the one that interrupts is not overwritten.
	defer n.interruptAtEnd(ctx)()
	conn, err := n.file.SyscallConn()
	if err != nil {
		return false, err
	}
	var failed error
	err = conn.Read(func(uintptr) bool {
		event, failed = n.take(seen)
		return event || failed != nil
	})
	switch {
	case ctx.Err() != nil:
		return false, context.Cause(ctx)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return false, nil
	case err == nil:
		err = failed
	}
	return event, err
}

// interruptAtEnd ends the read in progress at the end of ctx, until the function that
// it returns is called. By context.AfterFunc it would add 20 kB to a program that calls
// only [RestartOnChange], whose context never ends.
func (n *inotify) interruptAtEnd(ctx context.Context) (release func()) {
	if ctx.Done() == nil {
		return func() {}
	}
	released, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case <-ctx.Done():
			n.file.SetReadDeadline(time.Unix(1, 0))
		case <-released:
		}
	}()
	return func() {
		close(released)
		<-ended // so that the interruption does not reach into the next read
	}
}

// take takes what there is, without waiting, and reports whether any of it may concern
// the path.
func (n *inotify) take(seen watch.EntryID) (relevant bool, err error) {
	for !relevant && err == nil {
		relevant, err = n.read()
	}
	if err == unix.EAGAIN {
		return n.remounted(seen), nil
	}
	return relevant, err
}

// remounted reports whether mounts have changed what is on the path.
func (n *inotify) remounted(seen watch.EntryID) bool {
	var events [2]unix.EpollEvent
	count, _ := unix.EpollWait(n.epoll, events[:], 0)
	for _, event := range events[:max(0, count)] {
		if n.mounts != nil && int(event.Fd) == n.mounts.Int() { // another one is of inotify: Go's poller knows of it
			return n.dirs.Remounted(n, seen)
		}
	}
	return false
}

// read takes events that are queued, and reports whether any of them may concern the
// path. Without events it fails with EAGAIN.
func (n *inotify) read() (relevant bool, err error) {
	got, err := syscall.Read(n.fd.Int(), n.buf[:])
	if err != nil {
		return false, err
	}
	for b := n.buf[:got]; len(b) > 0; {
		event, name, rest, ok := cutEvent(b)
		if !ok || n.concerns(event, name) {
			return true, nil
		}
		b = rest
	}
	// A version that is being written beside the path has such events.
	prepareExecutor()
	return false, nil
}

// prepareExecutor is not called before there is a sign of a new version: until then the process
// has no use for one more thread.
var prepareExecutor = sync.OnceFunc(func() { go execve.PrepareExecutor() })

// concerns translates an event.
func (n *inotify) concerns(event unix.InotifyEvent, name []byte) bool {
	return n.dirs.Concerns(n, &watch.Event{
		Watch: int(event.Wd),
		Name:  name,
		Lost:  event.Wd == -1, // IN_Q_OVERFLOW
		Self:  event.Mask&selfEvents != 0,
		Ended: event.Mask&unix.IN_IGNORED != 0,
	})
}

// cutEvent takes the first record of inotify(7) off b, and the padding off its
// name. ok is false if it can't be read.
func cutEvent(b []byte) (event unix.InotifyEvent, name, rest []byte, ok bool) {
	if len(b) < unix.SizeofInotifyEvent {
		return event, nil, nil, false
	}
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&event)), unix.SizeofInotifyEvent), b)
	b = b[unix.SizeofInotifyEvent:]
	if uint64(event.Len) > uint64(len(b)) {
		// The kernel never cuts a record. An emulator may leave one in the byte order of its
		// machine: qemu-user knows only the inotify descriptors that were made under it.
		return event, nil, nil, false
	}
	name, rest = b[:event.Len], b[event.Len:]
	if i := bytes.IndexByte(name, 0); i >= 0 {
		name = name[:i]
	}
	return event, name, rest, true
}
