package reap

import (
	"os"
	"time"
)

// maxHeld is how many zombies to hold by pidfd at a time.
const maxHeld = 256

// heldZombie is a zombie to decide on.
type heldZombie struct {
	*zombie
	pid int
	// With a pidfd, the wait is for this process and for none that has its PID later.
	pidfd Pidfd // nil if there is none
}

// holdDue opens pidfds for the zombies that are due. The caller closes them all. It
// reports whether more are due than can be held at a time.
func (r *orphanRun) holdDue(now time.Time) (due []heldZombie, full bool) {
	most, end := r.from.heldRoom()
	for pid, z := range r.pending {
		if !z.due(now) {
			continue
		}
		if len(due) == most {
			return due, true
		}
		pidfd, gone := r.hold(pid, end)
		if gone {
			delete(r.pending, pid)
			continue
		}
		due = append(due, heldZombie{z, pid, pidfd})
	}
	return due, false
}

// hold opens a pidfd below end, or returns nil if there can be none. It reports whether
// the zombie is gone.
func (r *orphanRun) hold(pid, end int) (p Pidfd, gone bool) {
	if !r.pidfds {
		return nil, !r.from.isZombie(pid)
	}
	p, err := r.from.table.Open(pid)
	if err != nil {
		return nil, err == os.ErrProcessDone
	}
	if p.FD() >= end {
		p.Close()
		return nil, false
	}
	return p, false
}

// closeAll lets go of the zombies.
func closeAll(due []heldZombie) {
	for _, z := range due {
		if z.pidfd != nil {
			z.pidfd.Close()
		}
	}
}

// heldRoom says how many pidfds a look may hold at a time, and from which number on
// descriptors are left to the program: it must not run out of them for a look, not
// even for a moment.
func (s *system) heldRoom() (most, end int) {
	limit, _, err := s.table.OpenFilesLimit()
	if err != nil {
		return 1, maxHeld
	}
	count, end := pidfdRoom(limit)
	return min(maxHeld, max(count/4, 1)), end
}

// pidfdsOwned returns the PIDs of those zombie children for which this process has
// a pidfd beside the given ones. PeekDescriptor tells a pidfd from any other file,
// and which child it is for, at a tenth of the price of reading /proc/self/fd.
func (s *system) pidfdsOwned(beside []heldZombie) (owned map[int]bool, ok bool) {
	end, ok := s.descriptorsEnd()
	if !ok {
		return nil, false
	}
	ours := make(map[int]bool, len(beside))
	for _, z := range beside {
		if z.pidfd != nil {
			ours[z.pidfd.FD()] = true
		}
	}
	owned = make(map[int]bool)
	for fd := range end {
		if ours[fd] {
			continue
		}
		if pid, err := s.table.PeekDescriptor(fd); err == nil && pid != 0 {
			owned[pid] = true
		}
	}
	return owned, true
}

// descriptorsEnd returns a number above those of all open files. Where only limits
// are known, these are all that there can be, unless the limit was lowered after they
// were opened: then the highest stay out of sight.
func (s *system) descriptorsEnd() (end int, ok bool) {
	if end, err := s.table.DescriptorsEnd(); err == nil {
		return end, true
	}
	_, hard, err := s.table.OpenFilesLimit()
	if err != nil {
		return 0, false
	}
	return int(min(hard, 1<<20)), true
}
