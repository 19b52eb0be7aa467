package reap

import (
	"slices"
	"sync"
)

// Snapshot is what an exec has left in this process: the children of the image
// before. They are listed once, before main. A part of the program that deals with
// an inherited child takes it out of the snapshot first, so no two do.
//
// The children that the initialisation of other packages has started before the
// snapshot are listed, too. They are taken off as soon as the list is used.
type Snapshot struct {
	system
	sessionAtStart int    // the session in which this image began, or -1
	tick           uint64 // when the children were listed; later processes are not in the list
	by             string // how they were listed
	err            error  // why some may be missing

	rounds sync.Mutex // held by a run of the orphan reaper while it holds zombies

	settleOnce sync.Once
	mu         sync.Mutex
	free       []int        // not taken; its array is shared, and never written to
	all        []int        // as listed
	done       map[int]Exit // of those that the listing itself had to wait for

	imageOnce sync.Once
	start     uint64 // see imageStart
	thread    int    // the TID of the oldest thread but the main one, 0 if not known
}

// TakeSnapshot lists the children of this process. It must be called once, before
// the program starts children of its own. executed means that this image was
// executed by an earlier image of the same process that has this library.
func TakeSnapshot(table Table, executed bool) *Snapshot {
	s := &Snapshot{system: system{table: table}}
	s.sessionAtStart = s.session(0)
	s.tick = s.table.Now()
	s.list(executed)
	s.all = slices.Clip(s.free)
	return s
}

// Err returns why some children may be missing, or nil.
func (s *Snapshot) Err() error { return s.err }

// imageStart is when this image was started, or the tick of the snapshot where only
// that is known: its own children are not older, and the inherited ones
// are not younger. The snapshot itself comes later, after the initialisation of other
// packages, which may have started something.
func (s *Snapshot) imageStart() uint64 {
	s.imageOnce.Do(func() {
		s.start = s.tick
		if start, thread, ok := s.oldestThread(); ok && start <= s.tick {
			s.start, s.thread = start, thread
		}
	})
	return s.start
}

// oldestThread returns the oldest thread of this process but the main one, which is
// as old as the process, and its start.
func (s *Snapshot) oldestThread() (start uint64, thread int, ok bool) {
	threads, err := s.table.Threads()
	if err != nil || !s.table.OwnNumbers() {
		return 0, 0, false
	}
	for _, tid := range threads {
		if tid == s.table.PID() {
			continue
		}
		if at, err := s.table.ThreadStart(tid); err == nil && (!ok || at < start) {
			start, thread, ok = at, tid, true
		}
	}
	return start, thread, ok
}

// settle takes the children that this image has started off the list.
func (s *Snapshot) settle() {
	s.settleOnce.Do(func() {
		own := s.own()
		if len(own) == 0 {
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		isOwn := func(pid int) bool { return slices.Contains(own, pid) }
		s.all = slices.DeleteFunc(slices.Clone(s.all), isOwn)
		s.free = slices.DeleteFunc(slices.Clone(s.free), isOwn)
	})
}

// TakeAll takes every child that is free.
func (s *Snapshot) TakeAll() []int {
	s.settle()
	s.mu.Lock()
	defer s.mu.Unlock()
	pids := s.free
	s.free = nil
	return pids
}

// Free returns the children that are free.
func (s *Snapshot) Free() []int {
	s.settle()
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.free)
}

// GiveBack makes children free again that were taken and not waited for.
func (s *Snapshot) GiveBack(pids ...int) {
	if len(pids) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free = slices.Concat(s.free, pids)
}

// take takes one child if it is free.
func (s *Snapshot) take(pid int) bool {
	s.settle()
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.Index(s.free, pid)
	if i < 0 {
		return false
	}
	s.free = slices.Concat(s.free[:i], s.free[i+1:])
	return true
}

// listed returns all inherited children, free or not.
func (s *Snapshot) listed() []int {
	s.settle()
	return s.all
}

// isDone reports whether the listing had to wait for the child.
func (s *Snapshot) isDone(pid int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.done[pid]
	return ok
}

// takeDone takes the exit of a child that the listing had to wait for.
func (s *Snapshot) takeDone(pid int) (Exit, bool) {
	if s.done == nil { // nearly always
		return Exit{}, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.done[pid]
	delete(s.done, pid)
	return e, ok
}
