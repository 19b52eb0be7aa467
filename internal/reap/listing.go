package reap

import "errors"

// The ways to list the children of this process. Kinship is never taken from a
// file: Peek says whether a PID is a child, and everything listed is put to that
// test before it is signalled.
const (
	byNothing  = "no children"
	byChildren = "/proc/self/task/*/children"
	byParent   = "/proc/*/stat"
	byProbing  = "waitid"
	byWaiting  = "wait4"
)

// list makes the snapshot. It runs before main. A program that has no children pays
// for two system calls, and one that was executed by its earlier image for five.
func (s *Snapshot) list(executed bool) {
	s.by = byNothing
	if _, state, err := s.table.PeekAny(); err == nil && state == NotOurs {
		return
	}
	// After an exec all children are listed with the main thread, whichever thread
	// made them, and no other part of the program waits for one while this list is
	// read. An empty list contradicts what the kernel has just said. A list that
	// begins or ends with a process that is no child is not to be believed either.
	pids, err := s.table.ChildrenOf(s.table.PID())
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		s.by = byWaiting
		s.listByWaiting(executed)
	case err == nil && len(pids) > 0 && s.isChild(pids[0]) && s.isChild(pids[len(pids)-1]):
		s.free, s.by = pids, byChildren
	default:
		var found bool
		if s.free, found = s.childrenByParent(); found {
			s.by = byParent
			return
		}
		limit := largePIDMax
		if newest, err := s.table.NewestPID(); err == nil {
			limit = probeLimit(s.table.PID(), newest)
		}
		s.by = byProbing
		if s.free = s.probe(limit); len(s.free) == 0 {
			s.err = unsupported("waitid") // there are children, or PeekAny had said so
		}
	}
}

// childrenByParent picks the children out of all processes. Peek comes before Stat,
// at a tenth of the price. Stat distinguishes a child from a process that is only traced
// by this one.
func (s *system) childrenByParent() (pids []int, ok bool) {
	if !s.table.OwnNumbers() {
		return nil, false
	}
	all, err := s.table.PIDs()
	if err != nil {
		return nil, false
	}
	for _, pid := range all {
		if !s.isChild(pid) {
			continue
		}
		if stat, err := s.table.Stat(pid); err == nil && stat.Parent != s.table.PID() {
			continue
		}
		pids = append(pids, pid)
	}
	return pids, true
}

const (
	smallPIDMax = 32768   // the usual pid_max, and the largest on 32-bit kernels
	largePIDMax = 4194304 // the largest on 64-bit kernels
)

// probe looks at one PID after the other. That takes 10 ms for the usual range, and
// over a second for the largest. A process that this one traces is left out, because it may be
// no child.
func (s *system) probe(limit int) (pids []int) {
	for pid := 1; pid < limit; pid++ {
		if s.isChild(pid) && s.table.Kin(pid) != Traced {
			pids = append(pids, pid)
		}
	}
	return pids
}

// probeLimit returns the end of the range in which the children of a process can
// be: they were given their PIDs between its own and the newest. That PIDs have
// begun again shows only if the newest is below its own.
func probeLimit(self, newest int) int {
	switch {
	case self >= smallPIDMax && newest < self: // begun again
		return largePIDMax
	case newest >= smallPIDMax:
		return newest + 1
	default:
		return smallPIDMax
	}
}

// maxWaited is the largest PID that listByWaiting finds living children at: pid_max
// of macOS and the BSDs, and of most other systems unless it was raised.
const maxWaited = 99999

// listByWaiting finds children without a list of them, and without a look at a
// child that does not take it: it waits for the zombies, and keeps their exits for
// whoever takes them. That is done only if the previous image was one of ours:
// otherwise there are no children as a rule, and no cheap way to know. Nothing that
// this image has started can be among them, because it has not started anything.
func (s *Snapshot) listByWaiting(executed bool) {
	if _, err := s.table.Wait(s.table.PID(), nil); err != nil { // on ourselves, to know whether it works
		s.err = err
		return
	}
	if !executed {
		return
	}
	s.done = make(map[int]Exit)
	var e Exit
	state, err := s.table.WaitAny(&e)
	for ; err == nil && state == Exited; state, err = s.table.WaitAny(&e) {
		s.done[e.PID] = e
		s.free = append(s.free, e.PID)
		e = Exit{}
	}
	if err != nil || state == NotOurs {
		return
	}
	for pid := 1; pid <= maxWaited; pid++ {
		e := Exit{PID: pid}
		state, err := s.table.Wait(pid, &e)
		switch {
		case err != nil:
		case state == Exited: // just now
			s.done[pid] = e
			s.free = append(s.free, pid)
		case state == Running:
			s.free = append(s.free, pid)
		}
	}
	if len(s.free) == len(s.done) {
		s.err = unsupported("wait4") // there are more, and they can't be found
	}
}

// dropOwn takes the children off the list that this image has started: before the snapshot,
// by the initialisation of other packages. Without /proc there is no way to tell.
func (s *Snapshot) dropOwn() {
	start, thread, ok := s.oldestThread()
	if !ok || start > s.imageStart {
		return
	}
	s.imageStart = start
	for i := len(s.free) - 1; i >= 0; i-- {
		stat, err := s.table.Stat(s.free[i])
		switch {
		case err != nil: // gone
		case startedAfter(thread, start, s.free[i], stat.Start):
			s.free = append(s.free[:i], s.free[i+1:]...)
		case s.by == byChildren: // in the order in which they came to this process
			return
		}
	}
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

// startedAfter reports whether a process was started after a thread, which was started
// in the tick image. Within that tick, the process comes after the thread if its PID
// was given out after the thread's: it is larger or, if PIDs have begun again, far
// smaller.
func startedAfter(thread int, image uint64, pid int, start uint64) bool {
	if start != image {
		return start > image
	}
	const inOneTick = smallPIDMax / 4 // more than can be given out
	after := pid - thread
	return after > 0 && after < inOneTick || after < -inOneTick
}
