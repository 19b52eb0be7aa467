package watch_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"path"
	"sync"
	"syscall"
	"time"

	"github.com/autorestart-go/autorestart/internal/candidate"
	"github.com/autorestart-go/autorestart/internal/elfimage"
	"github.com/autorestart-go/autorestart/internal/simulation"
	"github.com/autorestart-go/autorestart/internal/watch"
)

// A kernel is the simulated one, as one process sees it. Between any two of its calls the world
// may change, and any call may fail.
type kernel struct {
	*simulation.Schedule
	*files
	world  *world
	oracle *oracle
	config config

	running    *node
	started    candidate.ID // of the running image when it was started
	inherited  *queue       // from the previous image; nil if there is none
	runningFDs int          // how often the running image is open

	openFiles, openSources int

	healthy   bool      // no call fails any more
	fullUntil time.Time // the table of descriptors is full

	calls  int       // since the last change of anything
	total  int       // of them
	looks  int       // at the path
	faults int       // calls that failed
	moment time.Time // of those calls

	leases sync.Mutex // of nodes: leased and breaks
}

// A config is what does not change during a schedule.
type config struct {
	racy        int  // one in so many calls finds the world changed; 0 for none
	racyWalk    int  // the same for those that set watches
	faulty      int  // one in so many calls fails; 0 for none
	silent      bool // the file system does not tell of every change, and can change the running image
	noInotify   bool // ENOSYS
	noMounts    bool // there is no /proc
	noLeases    bool // nor another way to tell that a file is open for writing
	privileged  bool
	capable     bool // the running image has capabilities
	owner       uint32
	interval    time.Duration
	trustsAny   bool
	handsOver   bool // the inotify instance crosses an exec
	restarts    bool // the caller is a Restarter
	verifies    bool
	needsLoader bool
}

var (
	_ candidate.System = (*kernel)(nil)
	_ candidate.Leases = (*kernel)(nil)
	_ watch.Events     = eventsOf{}
	_ watch.Source     = (*source)(nil)
	_ watch.Notifier   = (*source)(nil)
)

const maxCalls = 3000

// enter is called before each call. Here the world changes.
func (k *kernel) enter(format string, args ...any) {
	if now := time.Now(); !now.Equal(k.moment) {
		k.moment, k.calls = now, 0
	}
	k.total++
	if k.calls++; k.calls > maxCalls {
		k.Failf("spins: %d calls at one moment, with nothing happening", k.calls)
	}
	k.world.catchUp()
	k.race(k.config.racy)
	k.Tracef(format, args...)
}

// race changes the world in one of n cases.
func (k *kernel) race(n int) {
	if n > 0 && k.Chance(n) {
		k.world.act()
	}
}

// fail reports whether the call fails, with one of the errors.
func (k *kernel) fail(errs ...syscall.Errno) error {
	if !k.faulty(1) {
		return nil
	}
	return k.failed(errs[k.IntN(len(errs))])
}

// faulty reports whether something goes wrong that does so once in the given number of times when
// a call fails.
func (k *kernel) faulty(times int) bool {
	return k.config.faulty > 0 && !k.healthy && k.Chance(times*k.config.faulty)
}

// failToOpen is fail for calls that return a descriptor.
func (k *kernel) failToOpen(errs ...syscall.Errno) error {
	if time.Now().Before(k.fullUntil) {
		return k.failed(syscall.EMFILE)
	}
	if k.faulty(10) {
		k.fullUntil = time.Now().Add(k.Duration(20 * time.Second))
		k.Tracef("  the table of descriptors is full for %v", time.Until(k.fullUntil))
	}
	return k.fail(append(errs, syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM)...)
}

func (k *kernel) failed(err syscall.Errno) error {
	k.faults++
	k.calls = 0
	k.Tracef("  fails: %v", err)
	return err
}

// A handle is an open file.
type handle struct {
	k       *kernel
	node    *node
	running bool // opened as the running image
	closed  bool
}

func (k *kernel) open(n *node, running bool) *handle {
	n.readers++
	k.openFiles++
	if running {
		k.runningFDs++
	}
	return &handle{k: k, node: n, running: running}
}

func (h *handle) ReadAt(b []byte, off int64) (int, error) {
	h.k.enter("ReadAt %d", off)
	if err := h.k.fail(syscall.EIO, syscall.ENOMEM); err != nil {
		return 0, err
	}
	content := h.node.content.bytes
	if off >= int64(len(content)) {
		return 0, io.EOF
	}
	n := copy(b, content[off:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (h *handle) Close() error {
	if h.closed {
		h.k.Failf("a file is closed twice")
	}
	h.closed = true
	h.node.readers--
	h.k.openFiles--
	if h.running {
		h.k.runningFDs--
	}
	h.k.gone(h.node)
	return nil
}

func (k *kernel) Open(name string) (candidate.File, error) {
	k.enter("Open %s", name)
	if name == k.world.path {
		k.oracle.changes = k.world.changes
	}
	if err := k.failToOpen(syscall.EIO, syscall.EACCES); err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	n, err := k.find(name)
	switch {
	case err != nil:
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	case n.content == nil:
		return nil, candidate.ErrNotRegular
	}
	return k.open(n, false), nil
}

func (k *kernel) Stat(name string) (candidate.ID, error) {
	k.oracle.remembered()
	k.enter("Stat %s", name)
	if name == k.world.path {
		k.looks++
	}
	if err := k.fail(syscall.EIO, syscall.ENOMEM, syscall.EACCES); err != nil {
		return candidate.ID{}, &fs.PathError{Op: "stat", Path: name, Err: err}
	}
	n, err := k.find(name)
	if err != nil {
		return candidate.ID{}, &fs.PathError{Op: "stat", Path: name, Err: err}
	}
	k.Tracef("  %v", n)
	return n.id(), nil
}

func (k *kernel) StatFile(f candidate.File) (candidate.ID, error) {
	k.enter("StatFile")
	if err := k.fail(syscall.EIO, syscall.ENOMEM); err != nil {
		return candidate.ID{}, err
	}
	return f.(*handle).node.id(), nil
}

func (k *kernel) MayExecute(name string, id candidate.ID) error {
	k.enter("MayExecute")
	if err := k.fail(syscall.EIO, syscall.ENOMEM); err != nil {
		return err
	}
	if id.Perm&0o111 == 0 {
		return syscall.EACCES
	}
	return nil
}

func (k *kernel) OpenForWriting(f candidate.File) bool {
	k.enter("OpenForWriting")
	return f.(*handle).node.writers > 0 && !k.config.noLeases
}

func (k *kernel) HasCapabilities(f candidate.File) bool {
	k.enter("HasCapabilities")
	n := f.(*handle).node
	return n.capable && !n.volume.nosuid
}

func (k *kernel) Credentials() candidate.Credentials {
	return candidate.Credentials{Privileged: k.config.privileged}
}

func (k *kernel) Namespace() candidate.Namespace { return candidate.Namespace{} }

func (k *kernel) Entry(name string) (candidate.Entry, error) {
	k.enter("Entry %s", name)
	if err := k.fail(syscall.EIO, syscall.ENOMEM); err != nil {
		return candidate.Entry{}, &fs.PathError{Op: "lstat", Path: name, Err: err}
	}
	n, err := k.at(name)
	if err != nil {
		return candidate.Entry{}, &fs.PathError{Op: "lstat", Path: name, Err: err}
	}
	return candidate.Entry{ID: n.id(), Directory: n.entries != nil, Target: n.target, Mount: n.volume.dev}, nil
}

func (k *kernel) Mount(name string, dev uint64) candidate.Mount {
	k.enter("Mount %s", name)
	if err := k.fail(syscall.EIO, syscall.ENOMEM); err != nil {
		return candidate.Mount{Err: err}
	}
	n, err := k.find(name)
	if err != nil {
		return candidate.Mount{Err: err}
	}
	return candidate.Mount{NoSUID: n.volume.nosuid, FUSEUser: n.volume.user}
}

func (k *kernel) RunningEntry() (candidate.Entry, error) {
	k.enter("RunningEntry")
	if err := k.fail(syscall.ENOMEM); err != nil {
		return candidate.Entry{}, err
	}
	return candidate.Entry{ID: k.RunningID(), Mount: k.running.volume.dev}, nil
}

func (k *kernel) RunningID() candidate.ID {
	if k.RunningChanged() {
		return k.started
	}
	return k.running.id()
}

func (k *kernel) OpenRunning() (candidate.File, error) {
	k.enter("OpenRunning")
	if err := k.failToOpen(); err != nil {
		return nil, err
	}
	return k.open(k.running, true), nil
}

func (k *kernel) RunningKind() elfimage.Kind { return thisMachine }
func (k *kernel) RunningIsBusy() bool        { return !k.config.silent }
func (k *kernel) RunningIsCoherent() bool    { return true }

func (k *kernel) RunningChanged() bool {
	return k.config.silent && k.running.id().Mark() != k.started.Mark()
}

func (k *kernel) HoldLease(f candidate.File) bool {
	k.enter("HoldLease")
	n := f.(*handle).node
	if k.config.noLeases || n.writers > 0 {
		return false
	}
	k.leases.Lock()
	defer k.leases.Unlock()
	n.leased, n.breaks = true, false
	return true
}

// EndLease and LeaseIsBreaking are called by a goroutine of the lease, at moments when the
// other one waits. They change nothing else.
func (k *kernel) EndLease(f candidate.File) {
	k.leases.Lock()
	defer k.leases.Unlock()
	n := f.(*handle).node
	n.leased, n.breaks = false, false
}

func (k *kernel) LeaseIsBreaking(f candidate.File) bool {
	k.leases.Lock()
	defer k.leases.Unlock()
	return f.(*handle).node.breaks
}

// mayWrite reports whether a process can open the file for writing now. If not, it waits for a
// lease.
func (k *kernel) mayWrite(n *node) bool {
	k.leases.Lock()
	defer k.leases.Unlock()
	n.breaks = n.leased
	return !n.leased
}

// A source is the inotify descriptor of a watcher.
type source struct {
	k     *kernel
	queue *queue
	dirs  watch.Directories
}

var errNoInotify = error(syscall.ENOSYS)

func (k *kernel) openEvents() (watch.Source, error) {
	k.enter("Events.Open")
	if err := k.failToOpen(syscall.EMFILE); err != nil {
		return nil, err
	}
	if k.config.noInotify {
		return nil, errNoInotify
	}
	s := &source{k: k, queue: k.inherited}
	if k.inherited = nil; s.queue == nil {
		s.queue = &queue{limit: 4 + k.IntN(60)}
	} else {
		var watches []int
		for _, w := range s.queue.watches {
			watches = append(watches, w.wd)
		}
		s.dirs.Inherit(watches)
		k.Tracef("  inherits %v", watches)
	}
	s.queue.open = true
	k.files.queue = s.queue
	k.openSources++
	return s, nil
}

// eventsOf is [watch.Events]: the kernel has another Open.
type eventsOf struct{ *kernel }

func (e eventsOf) Open() (watch.Source, error) { return e.openEvents() }

func (s *source) Arm(name string) (missed bool, err error) {
	missed, err = s.dirs.Arm(s, name)
	s.k.Tracef("Arm: %t, %v, %v", missed, err, s.dirs.Steps)
	return missed, err
}

func (s *source) ReadLink(name string) (string, error) {
	s.k.race(s.k.config.racyWalk)
	s.k.enter("ReadLink %s", name)
	if err := s.k.fail(syscall.EIO, syscall.ENOMEM); err != nil {
		return "", err
	}
	n, err := s.k.at(name)
	switch err {
	case nil:
		return n.target, nil
	case syscall.ENOENT:
		return "", err
	default:
		return "", nil
	}
}

func (s *source) EntryAt(step candidate.Step) (watch.EntryID, error) {
	s.k.race(s.k.config.racyWalk)
	s.k.enter("EntryAt %v", step)
	if err := s.k.fail(syscall.EIO, syscall.ENOMEM); err != nil {
		return watch.EntryID{}, err
	}
	w := new(walk)
	n, err := w.resolve(s.k.root, path.Join(step.Dir, step.Name), s.k.root, false)
	if err != nil {
		return watch.EntryID{}, nil
	}
	return watch.EntryID{Dev: n.volume.dev, Ino: n.ino, Mounted: w.crossed == n}, nil
}

func (s *source) AddWatch(dir string, ready bool) (int, error) {
	s.k.race(s.k.config.racyWalk)
	s.k.enter("AddWatch %s %t", dir, ready)
	if err := s.k.fail(syscall.ENOSPC, syscall.ENOMEM, syscall.EACCES); err != nil {
		return watch.NoDirectory, err
	}
	n, err := s.k.find(dir)
	switch {
	case err == syscall.ELOOP:
		return watch.NoDirectory, err
	case err != nil, n.entries == nil:
		return watch.NoDirectory, nil
	}
	return s.queue.watch(n, ready), nil
}

func (s *source) RemoveWatch(wd int) {
	s.k.enter("RemoveWatch %d", wd)
	s.queue.remove(wd)
}

func (s *source) FileSystem(dir string) (uint32, error) {
	s.k.enter("FileSystem %s", dir)
	if err := s.k.fail(syscall.EIO, syscall.ENOMEM); err != nil {
		return 0, err
	}
	n, err := s.k.find(dir)
	if err != nil {
		return 0, err
	}
	return n.volume.magic, nil
}

func (s *source) WatchMounts() error {
	if s.queue.mounts {
		return nil
	}
	s.k.enter("WatchMounts")
	if s.k.config.noMounts {
		return &fs.PathError{Op: "open", Path: "/proc/self/mountinfo", Err: syscall.ENOENT}
	}
	if err := s.k.failToOpen(); err != nil {
		return err
	}
	s.queue.mounts, s.queue.edge = true, true
	return nil
}

func (s *source) Close() error {
	s.k.Tracef("Source.Close")
	s.k.openSources--
	s.queue.open, s.queue.mounts = false, false
	if s.k.inherited != s.queue {
		s.k.files.queue = nil
	}
	return nil
}

// take is inotify.take.
func (s *source) take(seen watch.EntryID) (relevant bool) {
	events := s.queue.events
	s.queue.events = nil
	for i := range events {
		s.k.Tracef("  event %d %q lost %t self %t ended %t", events[i].Watch, events[i].Name, events[i].Lost, events[i].Self, events[i].Ended)
		if s.dirs.Concerns(s, &events[i]) {
			return true
		}
	}
	if s.k.mountsChanged {
		s.queue.edge, s.k.mountsChanged = s.queue.mounts, false
	}
	if s.queue.edge {
		s.queue.edge = false
		return s.dirs.Remounted(s, seen)
	}
	return false
}

func (s *source) Wait(ctx context.Context, d time.Duration, seen watch.EntryID) (event bool, err error) {
	k := s.k
	k.enter("Wait %v", d)
	if err := k.fail(syscall.EBADF, syscall.ENOMEM); err != nil {
		return false, err
	}
	var end time.Time
	if d > 0 {
		end = time.Now().Add(d)
	}
	for {
		switch {
		case ctx.Err() != nil:
			return false, context.Cause(ctx)
		case s.take(seen):
			return true, nil
		case k.faulty(5):
			k.Tracef("a wake-up for nothing")
			return true, nil
		case !end.IsZero() && !time.Now().Before(end):
			return false, nil
		}
		k.world.sleepUntil(ctx, end)
	}
}

var errEnded = errors.New("the schedule is over")
