package reap

import "slices"

// evidence is what is known of a zombie child of this process.
type evidence struct {
	pid       int
	kin       Kin
	inherited bool   // certainly
	older     bool   // than this image
	session   int    // 0 also for one outside of this PID namespace, -1 if not known
	ours      [2]int // the sessions that this process has been in since this image began
	list      list
}

// list says in which thread's list of children the kernel has a child.
type list int

const (
	listUnknown list = iota // there are no lists
	listUnread              // they can't be read now
	listMain                // the main thread's
	listOther               // another thread's
	listMissed              // in none: the lists have changed while they were read
)

// verdict says what a zombie is.
type verdict int

const (
	orphan           verdict = iota // no part of this image waits for it, unless it is an inherited child's owner
	ownChild                        // a child that this image has started, or a process that it traces
	orphanUnlessHeld                // an orphan, unless this process holds a pidfd for it
	undecided                       // it can't be said now
)

// classify says what a zombie is, as far as that is possible without a look at the
// descriptors of this process.
//
// A process begins in its parent's session, and the only other session that it can
// enter is its own, whose number is its PID. So a zombie of a third session was not
// started by this process. The kernel hands orphans to the first living thread, in a
// Go program the main thread, and into the list of that thread. In the list of
// another thread are only the children that this thread has started.
//
// A process that this one traces belongs to the tracer. An orphan announces its exit by
// SIGCHLD: the kernel sees to that when it finds it a new parent.
func classify(e evidence) verdict {
	switch {
	case e.inherited:
		return orphan
	case e.kin == UnknownKin:
		return undecided
	case e.kin != Child:
		return ownChild
	case e.older:
		return orphan
	case e.session >= 0 && e.session != e.pid && !slices.Contains(e.ours[:], e.session):
		return orphan
	case e.list == listOther:
		return ownChild
	case e.list == listMissed || e.list == listUnread:
		return undecided
	default:
		return orphanUnlessHeld
	}
}

// sessions is the evidence that costs next to nothing. The session of this process
// can change once, by setsid(2).
func (s *Snapshot) sessions(pid int) evidence {
	return evidence{pid: pid, kin: s.table.Kin(pid), session: s.session(pid), ours: [2]int{s.sessionAtStart, s.session(0)}}
}

// threadLists has the lists of children of the threads of this process.
type threadLists struct {
	from   *Snapshot
	main   map[int]bool // nil if there are no lists, or they can't be read
	unread bool         // they can't be read now
	others map[int]bool // nil before they are needed
}

// readMainList reads the list of the main thread.
func (s *Snapshot) readMainList() *threadLists {
	l := &threadLists{from: s}
	pids, err := s.table.ChildrenOf(s.table.PID())
	if err == nil {
		l.main = setOf(pids)
	}
	l.unread = mayPass(err)
	return l
}

// possibleOrphans returns the children that orphans can be among.
func (l *threadLists) possibleOrphans() map[int]bool {
	if l.main != nil {
		return l.main
	}
	s := l.from
	if pids, ok := s.childrenByParent(); ok {
		return setOf(pids)
	}
	zombie, _ := s.someZombie()
	if max(s.table.PID(), zombie) < smallPIDMax {
		return setOf(s.probe(smallPIDMax))
	}
	return setOf(s.probe(largePIDMax))
}

// find returns the list that the child is in. That it is missing from one list does
// not say that it is in another: a wait for another child, while a list is read, can
// make the kernel leave out a neighbour.
func (l *threadLists) find(pid int) list {
	switch {
	case l.unread:
		return listUnread
	case l.main == nil:
		return listUnknown
	case l.main[pid]:
		return listMain
	}
	if l.others == nil {
		l.others = make(map[int]bool)
		table := l.from.table
		threads, _ := table.Threads()
		for _, tid := range threads {
			if tid == table.PID() {
				continue
			}
			pids, _ := table.ChildrenOf(tid)
			for _, pid := range pids {
				l.others[pid] = true
			}
		}
	}
	if l.others[pid] {
		return listOther
	}
	return listMissed
}

func setOf(pids []int) map[int]bool {
	set := make(map[int]bool, len(pids))
	for _, pid := range pids {
		set[pid] = true
	}
	return set
}
