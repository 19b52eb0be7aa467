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
// snapshot are taken off it at once, while there are descriptors for that.
type Snapshot struct {
	system
	sessionAtStart int    // the session in which this image began, or -1
	by             string // how the children were listed
	err            error  // why some may be missing
	all            []int  // as listed

	// imageStart is when this image was started, or the tick of the snapshot if nothing
	// was listed or only that is known. The children of this image are not older, and the
	// inherited ones are not younger.
	imageStart uint64

	rounds sync.Mutex // held by a run of the orphan reaper while it holds zombies

	mu   sync.Mutex
	free []int        // not taken; its array is shared, and never written to
	done map[int]Exit // of those that the listing itself had to wait for
}

// TakeSnapshot lists the children of this process. It must be called once, before
// the program starts children of its own. executed means that this image was
// executed by an earlier image of the same process that has this library. The excepted children
// belong to another part of the library.
func TakeSnapshot(table Table, executed bool, excepted ...int) *Snapshot {
	s := &Snapshot{system: system{table: table}}
	s.sessionAtStart = s.session(0)
	s.imageStart = s.table.Now()
	s.list(executed)
	if len(excepted) > 0 {
		s.free = slices.DeleteFunc(s.free, func(pid int) bool { return slices.Contains(excepted, pid) })
	}
	if len(s.free) > 0 {
		s.dropOwn()
	}
	s.all = slices.Clip(s.free)
	return s
}

// Err returns why some children may be missing, or nil.
func (s *Snapshot) Err() error { return s.err }

// TakeAll takes every child that is free.
func (s *Snapshot) TakeAll() []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	pids := s.free
	s.free = nil
	return pids
}

// Free returns the children that are free.
func (s *Snapshot) Free() []int {
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
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.Index(s.free, pid)
	if i < 0 {
		return false
	}
	s.free = slices.Concat(s.free[:i], s.free[i+1:])
	return true
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
