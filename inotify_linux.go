//go:build !autorestart_portable

// Events about the executable's path.
//
//	call                  since    without it
//	inotify_init1(2)      2.6.27   poll
//	inotify_add_watch(2)  2.6.13   poll

package autorestart

import (
	"bytes"
	"errors"
	"iter"
	"os"
	"slices"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/handover"
)

const (
	// What can put another entry under a name on the way.
	stepEvents = unix.IN_CREATE | unix.IN_MOVED_TO

	// What can turn the entry under the last name into a version that is ready:
	// its writer closes it, its mode or its capabilities are set.
	fileEvents = stepEvents | unix.IN_CLOSE_WRITE | unix.IN_ATTRIB

	// What ends a watch, or its use.
	selfEvents = unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_IGNORED | unix.IN_UNMOUNT
)

// inotify tells when to look at a path again. It owns its descriptor.
type inotify struct {
	fd     int
	file   *os.File // nonblocking: Go's poller does the waiting
	steps  []watchedStep
	silent error // why events don't tell everything, although all is watched
	buf    [16 << 10]byte
}

// watchedStep is a path step and the watch on its directory.
type watchedStep struct {
	pathStep
	wd int32
}

// newEvents returns an event source for [Watcher]. The error says why there is
// none.
func newEvents() (events, error) {
	fd, watches, err := inotifyFDs.take()
	if err != nil {
		return nil, err
	}
	n := &inotify{fd: fd, file: os.NewFile(uintptr(fd), "inotify")}
	for _, wd := range watches {
		// Of the image before this one. Whatever of it is still on the path gets
		// the same watch descriptor again; arm drops the others.
		n.steps = append(n.steps, watchedStep{wd: int32(wd)})
	}
	return n, nil
}

func (n *inotify) close() error {
	inotifyFDs.forget(n.fd)
	return n.file.Close()
}

// arm watches every directory that resolving the path passes through, and
// nothing else. It reports whether any watch is new, so that something may have
// happened before it. An error says that some directory can't be watched.
func (n *inotify) arm(path string) (changed bool, err error) {
	// The path may lead elsewhere by the time the last watch is in place: done
	// is when a second walk finds nothing new.
	for range 100 {
		steps, err := n.watchSteps(pathSteps(path, readLink))
		if err == nil && slices.Equal(steps, n.steps) {
			return changed, n.silent
		}
		changed = true
		n.dropAllBut(steps)
		n.steps, n.silent = steps, silentStep(steps)
		inotifyFDs.note(n.fd, steps)
		if err != nil {
			return true, err
		}
	}
	return true, errUnsteady
}

var errUnsteady = errors.New("autorestart: the directories of the path keep changing")

func silentStep(steps []watchedStep) error {
	for _, step := range steps {
		if err := silentFileSystem(step.dir); err != nil {
			return err
		}
	}
	return nil
}

// watchSteps adds the watches. A directory that is watched already keeps its
// watch descriptor; the mask only grows, for two steps may share a directory.
func (n *inotify) watchSteps(steps []pathStep) ([]watchedStep, error) {
	watched := make([]watchedStep, 0, len(steps))
	for i, step := range steps {
		mask := uint32(stepEvents)
		if i == len(steps)-1 {
			mask = fileEvents
		}
		mask |= unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_ONLYDIR | unix.IN_MASK_ADD
		wd, err := unix.InotifyAddWatch(n.fd, step.dir, mask)
		if err == unix.ENOENT || err == unix.ENOTDIR {
			break // gone since the walk: the watch on its parent tells when it is back
		}
		if err != nil {
			return watched, &os.PathError{Op: "inotify_add_watch", Path: step.dir, Err: err}
		}
		watched = append(watched, watchedStep{step, int32(wd)})
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

func (n *inotify) wait(done <-chan struct{}, d time.Duration) (event bool, err error) {
	var deadline time.Time
	if d > 0 {
		deadline = time.Now().Add(d)
	}
	if err := n.file.SetReadDeadline(deadline); err != nil {
		return false, err
	}
	if done != nil {
		// Started after the deadline was set, so that its own is not overwritten.
		defer n.interruptOn(done)()
	}
	for !event && err == nil {
		event, err = n.read()
	}
	switch {
	case isDone(done):
		return false, errDone
	case errors.Is(err, os.ErrDeadlineExceeded):
		return false, nil
	}
	return event, err
}

// isDone reports whether done is closed; nil never is.
func isDone(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
		return false
	}
}

// interruptOn ends the read in progress when done is closed, until the function
// that it returns is called.
func (n *inotify) interruptOn(done <-chan struct{}) (release func()) {
	released := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case <-done:
			n.file.SetReadDeadline(time.Unix(1, 0))
		case <-released:
		}
	}()
	return func() {
		close(released)
		<-ended
	}
}

// read waits for events, takes what is queued, and reports whether any of it
// may concern the path.
func (n *inotify) read() (relevant bool, err error) {
	got, err := n.file.Read(n.buf[:])
	if err != nil {
		return false, err
	}
	for event, name := range inotifyEvents(n.buf[:got]) {
		if n.concerns(event, name) {
			return true, nil
		}
	}
	return false, nil
}

// concerns reports whether the event is a reason to look again. Without the
// rest of what was read with it nothing is lost: looking again is all it asks for.
func (n *inotify) concerns(event unix.InotifyEvent, name []byte) bool {
	if event.Wd == -1 {
		return true // IN_Q_OVERFLOW: anything may have happened
	}
	known := false
	for i := range n.steps {
		if n.steps[i].wd != event.Wd {
			continue
		}
		if event.Mask&selfEvents != 0 || n.steps[i].name == string(name) {
			return true
		}
		known = true
	}
	if !known && event.Mask&unix.IN_IGNORED == 0 {
		// A watch of the image before this one, on a directory that has left the path.
		unix.InotifyRmWatch(n.fd, uint32(event.Wd))
	}
	return false
}

// inotifyEvents yields the records of inotify(7) in b, with the names' padding
// taken off. The name is only valid until the next one.
func inotifyEvents(b []byte) iter.Seq2[unix.InotifyEvent, []byte] {
	return func(yield func(unix.InotifyEvent, []byte) bool) {
		for len(b) >= unix.SizeofInotifyEvent {
			var event unix.InotifyEvent
			copy(unsafe.Slice((*byte)(unsafe.Pointer(&event)), unix.SizeofInotifyEvent), b)
			b = b[unix.SizeofInotifyEvent:]
			if uint64(event.Len) > uint64(len(b)) {
				return // the kernel never cuts a record
			}
			name := b[:event.Len]
			b = b[event.Len:]
			if i := bytes.IndexByte(name, 0); i >= 0 {
				name = name[:i]
			}
			if !yield(event, name) {
				return
			}
		}
	}
}

// inotifyFDs are the inotify descriptors of this process. They cross the exec
// with their watches, for two reasons: the next image need not make its own,
// and the execve need not wait for the kernel to take the watches down.
var inotifyFDs = adoptInotifyFDs(inherited.Numbers[handover.Inotify], inherited.Numbers[handover.Watch])

// spareLifetime is how long an image has to ask for the descriptors that it was
// handed. A version that no longer watches must not keep a queue that fills.
const spareLifetime = 10 * time.Second

type inotifyFDSet struct {
	mu    sync.Mutex
	live  []int // in use
	spare []int // handed over and not asked for yet

	watches []inotifyWatch // of all of them
}

// inotifyWatch is a watch descriptor of an inotify descriptor.
type inotifyWatch struct{ fd, wd int }

func adoptInotifyFDs(handed, watches []int) *inotifyFDSet {
	s := new(inotifyFDSet)
	for ; len(watches) > 1; watches = watches[2:] {
		s.watches = append(s.watches, inotifyWatch{watches[0], watches[1]})
	}
	for _, fd := range handed {
		// The empty path is looked at only after the descriptor has been found good.
		if _, err := unix.InotifyAddWatch(fd, "", stepEvents); err == unix.ENOENT {
			unix.CloseOnExec(fd)
			s.spare = append(s.spare, fd)
		}
	}
	if len(s.spare) > 0 {
		time.AfterFunc(spareLifetime, s.closeSpare)
	}
	return s
}

// take returns a descriptor that the caller owns, and must [inotifyFDSet.forget]
// before closing it, and the watches that it has.
func (s *inotifyFDSet) take() (fd int, watches []int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if last := len(s.spare) - 1; last >= 0 {
		fd = s.spare[last]
		s.spare = s.spare[:last]
	} else {
		fd, err = unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
		if err != nil {
			return -1, nil, os.NewSyscallError("inotify_init1", err)
		}
	}
	s.live = append(s.live, fd)
	for _, w := range s.watches {
		if w.fd == fd {
			watches = append(watches, w.wd)
		}
	}
	return fd, watches, nil
}

// note notes what a descriptor watches now.
func (s *inotifyFDSet) note(fd int, steps []watchedStep) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forgetWatches(fd)
	for _, step := range steps {
		if w := (inotifyWatch{fd, int(step.wd)}); !slices.Contains(s.watches, w) {
			s.watches = append(s.watches, w)
		}
	}
}

func (s *inotifyFDSet) forgetWatches(fd int) {
	s.watches = slices.DeleteFunc(s.watches, func(w inotifyWatch) bool { return w.fd == fd })
}

func (s *inotifyFDSet) forget(fd int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.live = slices.DeleteFunc(s.live, func(l int) bool { return l == fd })
	s.forgetWatches(fd)
}

func (s *inotifyFDSet) closeSpare() {
	s.mu.Lock()
	spare := s.spare
	s.spare = nil
	s.mu.Unlock()
	for _, fd := range spare {
		s.forget(fd)
		unix.Close(fd)
	}
}

// beginHandover returns what is to cross the coming exec: descriptors, and what
// they watch, in pairs. None can be closed until [inotifyFDSet.cancelHandover],
// which only an exec that failed needs.
func (s *inotifyFDSet) beginHandover() (fds, watches []int) {
	s.mu.Lock()
	for _, w := range s.watches {
		watches = append(watches, w.fd, w.wd)
	}
	return slices.Concat(s.live, s.spare), watches
}

func (s *inotifyFDSet) cancelHandover() {
	for _, fd := range slices.Concat(s.live, s.spare) {
		unix.CloseOnExec(fd)
	}
	s.mu.Unlock()
}
