//go:build !autorestart_portable

// Events about the executable's path.
//
//	call                         since    without it
//	inotify_init1(2)             2.6.27   poll
//	inotify_add_watch(2)         2.6.13   poll
//	poll of /proc/self/mountinfo 2.6.31   poll beside the events: they don't tell of mounts
//	statfs(2)                    ever     trust that events tell of every change

package autorestart

import (
	"bytes"
	"context"
	"errors"
	"os"
	"slices"
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
	steps  []watchedStep
	found  []inode // what the steps lead to
	silent error   // why events don't tell of every change, although all is watched
	buf    [16 << 10]byte
}

// A watchedStep is a step of the path, and the watch descriptor of its directory.
type watchedStep struct {
	candidate.Step
	wd int
}

// An inode is what tells one file from another. It is zero if there is none.
type inode struct{ dev, ino uint64 }

func inodeAt(step candidate.Step) inode {
	st, _ := sys.Lstat(step.Dir + "/" + step.Name)
	return inode{st.Dev, st.Ino}
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
	for _, wd := range watches {
		// A watch of the previous image. A directory that is still on the path gets the same
		// watch descriptor again; Arm drops the others.
		n.steps = append(n.steps, watchedStep{wd: wd})
	}
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

// watchMounts has changes of mounts end a wait, unless they do already.
func (n *inotify) watchMounts() error {
	if n.mounts != nil {
		return nil
	}
	fd, err := sys.AboveStandard(openProc("/proc/self/mountinfo"))
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

// Arm watches every directory that resolving the path passes through, and nothing
// else. It reports whether any watch is new, so that something may have happened
// before it, or the path leads to another file. An error says that some directory can't
// be watched, or mounts can't.
func (n *inotify) Arm(path string) (changed bool, err error) {
	mountErr := n.watchMounts()
	// The path may lead elsewhere by the time the last watch is in place. The watches are
	// complete when a second walk finds nothing new.
	for range 100 {
		steps, found, err := n.watchSteps(candidate.PathSteps(path, readLink))
		if !slices.Equal(found, n.found) {
			changed, n.found = true, found
		}
		if err == nil && slices.Equal(steps, n.steps) {
			if n.silent != nil {
				return changed, n.silent
			}
			return changed, mountErr
		}
		changed = true
		n.dropAllBut(steps)
		n.steps, n.silent = steps, silentStep(steps)
		n.set.note(n.fd.Int(), steps)
		if err != nil {
			return true, err
		}
	}
	return true, errUnsteady
}

var errUnsteady = errors.New("autorestart: the directories of the path keep changing")

// readLink is the argument of that name of [candidate.PathSteps].
func readLink(name string) (string, error) {
	target, err := os.Readlink(name)
	if err == nil || os.IsNotExist(err) {
		return target, err
	}
	return "", nil // EINVAL: not a symbolic link; any other error is that of the look-up, too
}

// silentStep returns an error if the directory of a step can change without an event.
func silentStep(steps []watchedStep) error {
	for _, step := range steps {
		if err := silentDirectory(step.Dir); err != nil {
			return err
		}
	}
	return nil
}

func silentDirectory(dir string) error {
	name, err := silentFileSystem(dir)
	if err != nil || name == "" {
		return nil // after an error it is gone meanwhile: the next Arm finds out
	}
	return &os.PathError{Op: "inotify", Path: dir, Err: errors.New("not every change is told of on " + name)}
}

// silentFileSystem returns the name of the file system of the path if that can change
// without an event.
func silentFileSystem(path string) (name string, err error) {
	var st unix.Statfs_t
	err = sys.RetryEINTR(func() error { return unix.Statfs(path, &st) })
	return watch.SilentFileSystem(uint32(st.Type)), err
}

// watchSteps adds the watches, and returns the steps that have one, and what they lead
// to. A directory that is watched already keeps its watch descriptor; the mask only grows,
// for two steps may share a directory. A directory is looked up before it is watched: if
// a mount comes in between, remounted finds a difference.
func (n *inotify) watchSteps(steps []candidate.Step) (watched []watchedStep, found []inode, _ error) {
	for i, step := range steps {
		mask := uint32(stepEvents)
		if i == len(steps)-1 {
			mask = fileEvents
		}
		mask |= unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_ONLYDIR | unix.IN_MASK_ADD
		found = append(found, inodeAt(step))
		wd, err := unix.InotifyAddWatch(n.fd.Int(), step.Dir, mask)
		switch err {
		case nil:
			watched = append(watched, watchedStep{step, wd})
		case unix.ENOENT, unix.ENOTDIR:
			return watched, found, nil // gone since the walk: the watch on its parent tells when it is back
		default:
			return watched, found, &os.PathError{Op: "inotify_add_watch", Path: step.Dir, Err: err}
		}
	}
	return watched, found, nil
}

// dropAllBut removes the watches that the given steps no longer need.
func (n *inotify) dropAllBut(steps []watchedStep) {
	for _, old := range n.steps {
		if !slices.ContainsFunc(steps, func(s watchedStep) bool { return s.wd == old.wd }) {
			unix.InotifyRmWatch(n.fd.Int(), uint32(old.wd)) // EINVAL: the kernel was first
		}
	}
}

func (n *inotify) Wait(ctx context.Context, d time.Duration) (event bool, err error) {
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
		event, failed = n.take()
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
func (n *inotify) take() (relevant bool, err error) {
	for !relevant && err == nil {
		relevant, err = n.read()
	}
	if err == unix.EAGAIN {
		return n.remounted(), nil
	}
	return relevant, err
}

// remounted reports whether mounts have changed what is on the path. Where there are
// containers, other mounts come and go by the hundreds.
func (n *inotify) remounted() bool {
	var events [2]unix.EpollEvent
	count, _ := unix.EpollWait(n.epoll, events[:], 0)
	for _, event := range events[:max(0, count)] {
		if n.mounts == nil || int(event.Fd) != n.mounts.Int() {
			continue // another event of inotify: Go's poller knows of it
		}
		for i, step := range n.steps {
			if inodeAt(step.Step) != n.found[i] {
				return true
			}
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

// concerns reports whether the event is a reason to look again. The events that were
// read after it are then not needed: one reason is enough.
func (n *inotify) concerns(event unix.InotifyEvent, name []byte) bool {
	if event.Wd == -1 {
		return true // IN_Q_OVERFLOW: anything may have happened
	}
	known := false
	for i := range n.steps {
		if n.steps[i].wd != int(event.Wd) {
			continue
		}
		if event.Mask&selfEvents != 0 || n.steps[i].Name == string(name) {
			return true
		}
		known = true
	}
	if !known && event.Mask&unix.IN_IGNORED == 0 {
		// A watch of the previous image, on a directory that has left the path.
		unix.InotifyRmWatch(n.fd.Int(), uint32(event.Wd))
	}
	return false
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
