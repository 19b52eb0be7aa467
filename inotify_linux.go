//go:build !autorestart_portable

// Events about the executable's path.
//
//	call                  since    without it
//	inotify_init1(2)      2.6.27   poll
//	inotify_add_watch(2)  2.6.13   poll
//	statfs(2)             ever     trust that events tell of every change

package autorestart

import (
	"bytes"
	"context"
	"errors"
	"os"
	"slices"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/candidate"
	"github.com/autorestart-go/autorestart/internal/sys"
	"github.com/autorestart-go/autorestart/internal/watch"
)

const (
	// stepEvents can put another entry under a name on the way.
	stepEvents = unix.IN_CREATE | unix.IN_MOVED_TO

	// fileEvents can turn the entry under the last name into a version that is ready:
	// its writer closes it, its mode or its capabilities are set.
	fileEvents = stepEvents | unix.IN_CLOSE_WRITE | unix.IN_ATTRIB

	// selfEvents end a watch, or its use.
	selfEvents = unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_IGNORED | unix.IN_UNMOUNT
)

// inotify is the [watch.Source] of one watcher.
type inotify struct {
	set    *eventSet
	fd     int      // the number; file owns the descriptor
	file   *os.File // nonblocking: Go's poller does the waiting
	steps  []watchedStep
	silent error // why events don't tell of every change, although all is watched
	buf    [16 << 10]byte
}

// A watchedStep is a step of the path, and the watch descriptor of its directory.
type watchedStep struct {
	candidate.Step
	wd int
}

// Open returns a source of events. The error says why there is none.
func (s *eventSet) Open() (watch.Source, error) {
	fd, watches, err := s.take()
	if err != nil {
		return nil, err
	}
	n := &inotify{set: s, fd: fd.Int()}
	n.file = fd.File("inotify")
	for _, wd := range watches {
		// A watch of the previous image. A directory that is still on the path gets the same
		// watch descriptor again; Arm drops the others.
		n.steps = append(n.steps, watchedStep{wd: wd})
	}
	return n, nil
}

func (n *inotify) Close() error {
	n.set.forget(n.fd)
	return n.file.Close()
}

// Arm watches every directory that resolving the path passes through, and nothing
// else. It reports whether any watch is new, so that something may have happened
// before it. An error says that some directory can't be watched.
func (n *inotify) Arm(path string) (changed bool, err error) {
	// The path may lead elsewhere by the time the last watch is in place. The watches are
	// complete when a second walk finds nothing new.
	for range 100 {
		steps, err := n.watchSteps(candidate.PathSteps(path, readLink))
		if err == nil && slices.Equal(steps, n.steps) {
			return changed, n.silent
		}
		changed = true
		n.dropAllBut(steps)
		n.steps, n.silent = steps, silentStep(steps)
		n.set.note(n.fd, steps)
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

// watchSteps adds the watches, and returns the steps that have one. A directory that is
// watched already keeps its watch descriptor; the mask only grows, for two steps may
// share a directory.
func (n *inotify) watchSteps(steps []candidate.Step) (watched []watchedStep, _ error) {
	for i, step := range steps {
		mask := uint32(stepEvents)
		if i == len(steps)-1 {
			mask = fileEvents
		}
		mask |= unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_ONLYDIR | unix.IN_MASK_ADD
		wd, err := unix.InotifyAddWatch(n.fd, step.Dir, mask)
		switch err {
		case nil:
			watched = append(watched, watchedStep{step, wd})
		case unix.ENOENT, unix.ENOTDIR:
			return watched, nil // gone since the walk: the watch on its parent tells when it is back
		default:
			return watched, &os.PathError{Op: "inotify_add_watch", Path: step.Dir, Err: err}
		}
	}
	return watched, nil
}

// dropAllBut removes the watches that the given steps no longer need.
func (n *inotify) dropAllBut(steps []watchedStep) {
	for _, old := range n.steps {
		if !slices.ContainsFunc(steps, func(s watchedStep) bool { return s.wd == old.wd }) {
			unix.InotifyRmWatch(n.fd, uint32(old.wd)) // EINVAL: the kernel was first
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
	for !event && err == nil {
		event, err = n.read()
	}
	switch {
	case ctx.Err() != nil:
		return false, context.Cause(ctx)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return false, nil
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

// read waits for events, takes what is queued, and reports whether any of it
// may concern the path.
func (n *inotify) read() (relevant bool, err error) {
	got, err := n.file.Read(n.buf[:])
	if err != nil {
		return false, err
	}
	for b := n.buf[:got]; ; {
		event, name, rest, ok := cutEvent(b)
		if !ok {
			// A version that is being written beside the path has such events.
			prestartThread()
			return false, nil
		}
		if n.concerns(event, name) {
			return true, nil
		}
		b = rest
	}
}

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
		unix.InotifyRmWatch(n.fd, uint32(event.Wd))
	}
	return false
}

// cutEvent takes the first record of inotify(7) off b, and the padding off its
// name. ok is false if there is none.
func cutEvent(b []byte) (event unix.InotifyEvent, name, rest []byte, ok bool) {
	if len(b) < unix.SizeofInotifyEvent {
		return event, nil, nil, false
	}
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&event)), unix.SizeofInotifyEvent), b)
	b = b[unix.SizeofInotifyEvent:]
	if uint64(event.Len) > uint64(len(b)) {
		return event, nil, nil, false // the kernel never cuts a record
	}
	name, rest = b[:event.Len], b[event.Len:]
	if i := bytes.IndexByte(name, 0); i >= 0 {
		name = name[:i]
	}
	return event, name, rest, true
}
