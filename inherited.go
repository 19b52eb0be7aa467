package autorestart

import (
	"slices"
	"sync"
)

// inheritance is what an exec left in this process: the children of the image
// before. They are listed while this package is initialised. What the
// initialisation of a package before this one has started is then listed, too,
// and is told apart as soon as anybody asks. Everyone who deals with an inherited
// child takes it out of here first, so that no two do.
type inheritance struct {
	settled sync.Once

	mu    sync.Mutex
	free  []int             // taken by nobody
	all   []int             // as listed, never written to
	done  map[int]ChildExit // of those that the listing itself had to wait for
	since uint64            // startTick of the listing: what was started later is not in it

	image     sync.Once
	startedAt uint64
	thread    int    // the TID of the thread that was started then, 0 if not known
	by        string // how they were listed
	err       error  // why some may be missing
}

var inheritedChildren = listInherited()

// imageStart is when this image was started, or the listing made where only
// that is known: nothing that it has started is older, and nothing that it has
// inherited is younger. The listing itself comes later, after the initialisation
// of other packages, which may have started something.
func (h *inheritance) imageStart() uint64 {
	h.image.Do(func() {
		h.startedAt = h.since
		if ticks, thread, ok := earliestThread(); ok && ticks <= h.since {
			h.startedAt, h.thread = ticks, thread
		}
	})
	return h.startedAt
}

// settle takes what this image has started off the listing. Everyone does it who
// is about to look there.
func (h *inheritance) settle() {
	h.settled.Do(func() {
		own := h.own()
		if len(own) == 0 {
			return
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		isOwn := func(pid int) bool { return slices.Contains(own, pid) }
		h.all = slices.DeleteFunc(slices.Clone(h.all), isOwn)
		h.free = slices.DeleteFunc(slices.Clone(h.free), isOwn)
	})
}

// takeAll takes every child that is free.
func (h *inheritance) takeAll() []int {
	h.settle()
	h.mu.Lock()
	defer h.mu.Unlock()
	pids := h.free
	h.free = nil
	return pids
}

// lists reports whether the PID was that of an inherited child, free or not.
func (h *inheritance) lists(pid int) bool {
	h.settle()
	return slices.Contains(h.all, pid)
}

// take takes one child if it is free.
func (h *inheritance) take(pid int) bool {
	h.settle()
	h.mu.Lock()
	defer h.mu.Unlock()
	i := slices.Index(h.free, pid)
	if i < 0 {
		return false
	}
	h.free = slices.Delete(h.free, i, i+1)
	return true
}

// giveBack makes children free again that were taken and not waited for.
func (h *inheritance) giveBack(pids ...int) {
	if len(pids) == 0 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	// Never onto the old array: who took all of it may still be reading.
	h.free = slices.Concat(h.free, pids)
}

// list returns the children that are free.
func (h *inheritance) list() []int {
	h.settle()
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.free)
}

// wait asks once whether an inherited child has exited, and fills in e unless it
// is nil.
func (h *inheritance) wait(c *child, e *ChildExit) waitState {
	if h.done != nil {
		h.mu.Lock()
		defer h.mu.Unlock()
		if exit, ok := h.done[c.pid]; ok {
			delete(h.done, c.pid)
			if e != nil {
				*e = exit
			}
			return waitExited
		}
	}
	return waitChild(c, e)
}

// certain tells for the first of the given children, at least one of them, by
// their index, whether the PID is certainly still their own. If few of those
// before them are left, it looks no further than it has to.
func (h *inheritance) certain(pids []int, few bool) []bool {
	rest := len(h.all) - len(pids)
	if rest >= 0 && slices.Equal(pids, h.all[rest:]) { // nearly always
		if few {
			if sure := notReused(h.all, h.imageStart(), true); len(sure) > rest {
				return sure[rest:]
			}
		}
		return notReused(h.all, h.imageStart(), false)[rest:]
	}
	byPID := make(map[int]bool, len(h.all))
	for i, sure := range notReused(h.all, h.imageStart(), false) {
		byPID[h.all[i]] = sure
	}
	sure := make([]bool, len(pids))
	for i, pid := range pids {
		sure[i] = byPID[pid]
	}
	return sure
}

// isDone reports whether the listing itself had to wait for the child.
func (h *inheritance) isDone(pid int) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, ok := h.done[pid]
	return ok
}
