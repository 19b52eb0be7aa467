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
	"os"
	"slices"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/sys"
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
	steps  []pathStep
	silent error // why events don't tell everything, although all is watched
	buf    [16 << 10]byte
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
		n.steps = append(n.steps, pathStep{wd: wd})
	}
	return n, nil
}

func (n *inotify) release() error {
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

func silentStep(steps []pathStep) error {
	for _, step := range steps {
		if err := silentFileSystem(step.dir); err != nil {
			return err
		}
	}
	return nil
}

// watchSteps adds the watches, and returns the steps that have one. A directory
// that is watched already keeps its watch descriptor; the mask only grows, for two
// steps may share a directory.
func (n *inotify) watchSteps(steps []pathStep) ([]pathStep, error) {
	for i, step := range steps {
		mask := uint32(stepEvents)
		if i == len(steps)-1 {
			mask = fileEvents
		}
		mask |= unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_ONLYDIR | unix.IN_MASK_ADD
		wd, err := unix.InotifyAddWatch(n.fd, step.dir, mask)
		switch err {
		case nil:
			steps[i].wd = wd
		case unix.ENOENT, unix.ENOTDIR:
			return steps[:i], nil // gone since the walk: the watch on its parent tells when it is back
		default:
			return steps[:i], &os.PathError{Op: "inotify_add_watch", Path: step.dir, Err: err}
		}
	}
	return steps, nil
}

// dropAllBut removes the watches that the given steps no longer need.
func (n *inotify) dropAllBut(steps []pathStep) {
	for _, old := range n.steps {
		if !slices.ContainsFunc(steps, func(s pathStep) bool { return s.wd == old.wd }) {
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
		select {
		case <-done:
			n.file.SetReadDeadline(time.Unix(1, 0))
		case <-released:
		}
		close(ended)
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
	for b := n.buf[:got]; ; {
		event, name, rest, ok := cutEvent(b)
		if !ok {
			return false, nil
		}
		if n.concerns(event, name) {
			return true, nil
		}
		b = rest
	}
}

// concerns reports whether the event is a reason to look again. Without the
// rest of what was read with it nothing is lost: looking again is all it asks for.
func (n *inotify) concerns(event unix.InotifyEvent, name []byte) bool {
	if event.Wd == -1 {
		return true // IN_Q_OVERFLOW: anything may have happened
	}
	known := false
	for i := range n.steps {
		if n.steps[i].wd != int(event.Wd) {
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

// inotifyFDs are the inotify descriptors of this process. They cross the exec
// with their watches, for two reasons: the next image need not make its own,
// and the execve need not wait for the kernel to take the watches down.
var inotifyFDs = adoptInotifyFDs(handover.Inherited.Numbers[handover.Inotify], handover.Inherited.Numbers[handover.Watch])

// spareLifetime is how long an image has to ask for the descriptors that it was
// handed. A version that no longer watches must not keep a queue that fills.
const spareLifetime = 10 * time.Second

type inotifyFDSet struct {
	mu  sync.Mutex
	all []inotifyFD
}

type inotifyFD struct {
	fd      int
	watches []int
	spare   bool // handed over and not asked for yet
}

// adoptInotifyFDs takes watches as pairs of a descriptor and a watch descriptor.
func adoptInotifyFDs(handed, watches []int) *inotifyFDSet {
	s := new(inotifyFDSet)
	for _, fd := range handed {
		// The empty path is looked at only after the descriptor has been found good.
		if _, err := unix.InotifyAddWatch(fd, "", stepEvents); err == unix.ENOENT {
			unix.CloseOnExec(fd)
			s.all = append(s.all, inotifyFD{fd: fd, spare: true})
		}
	}
	for ; len(watches) > 1; watches = watches[2:] {
		if own := s.find(watches[0]); own != nil {
			own.watches = append(own.watches, watches[1])
		}
	}
	if s.all != nil {
		time.AfterFunc(spareLifetime, s.closeSpare)
	}
	return s
}

// find is called with s locked, as remove is.
func (s *inotifyFDSet) find(fd int) *inotifyFD {
	for i := range s.all {
		if s.all[i].fd == fd {
			return &s.all[i]
		}
	}
	return nil
}

func (s *inotifyFDSet) remove(own *inotifyFD) {
	last := len(s.all) - 1
	*own = s.all[last]
	s.all = s.all[:last]
}

// take returns a descriptor that the caller owns, and must [inotifyFDSet.forget]
// before closing it, and the watches that it has.
func (s *inotifyFDSet) take() (fd int, watches []int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.all {
		if own := &s.all[i]; own.spare {
			own.spare = false
			return own.fd, own.watches, nil
		}
	}
	owned, err := sys.AboveStandard(unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK))
	if err != nil {
		return -1, nil, os.NewSyscallError("inotify_init1", err)
	}
	fd = owned.Release()
	s.all = append(s.all, inotifyFD{fd: fd})
	return fd, nil, nil
}

// note notes what a descriptor watches now.
func (s *inotifyFDSet) note(fd int, steps []pathStep) {
	var watches []int
	for _, step := range steps {
		if !slices.Contains(watches, step.wd) {
			watches = append(watches, step.wd)
		}
	}
	s.mu.Lock()
	s.find(fd).watches = watches
	s.mu.Unlock()
}

func (s *inotifyFDSet) forget(fd int) {
	s.mu.Lock()
	if own := s.find(fd); own != nil {
		s.remove(own)
	}
	s.mu.Unlock()
}

func (s *inotifyFDSet) closeSpare() {
	s.mu.Lock()
	for i := len(s.all) - 1; i >= 0; i-- {
		if own := &s.all[i]; own.spare {
			unix.Close(own.fd)
			s.remove(own)
		}
	}
	s.mu.Unlock()
}

// beginHandover returns what is to cross the coming exec: descriptors, and what
// they watch, in pairs. None can be closed until [inotifyFDSet.cancelHandover],
// which only an exec that failed needs.
func (s *inotifyFDSet) beginHandover() (fds, watches []int) {
	s.mu.Lock()
	for i := range s.all {
		own := &s.all[i]
		fds = append(fds, own.fd)
		for _, wd := range own.watches {
			watches = append(watches, own.fd, wd)
		}
	}
	return fds, watches
}

func (s *inotifyFDSet) cancelHandover() {
	for i := range s.all {
		unix.CloseOnExec(s.all[i].fd)
	}
	s.mu.Unlock()
}
