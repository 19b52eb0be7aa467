package reap

import "time"

// maxHeld is how many zombies to hold by pidfd at a time.
const maxHeld = 256

// heldZombie is a zombie that can't become another process, because the run holds it.
type heldZombie struct {
	pid   int
	pidfd Pidfd
}

// lookAtDescriptors decides on the zombies that are due and for which a pidfd in this
// process would tell an orphan from a child, all with one look.
func (r *orphanRun) lookAtDescriptors(now time.Time) {
	if now.Before(r.nextDescriptors) {
		return
	}
	due := r.holdDue(now)
	if len(due) == 0 {
		return
	}
	owned, ok := r.from.pidfdsOwned(due)
	took := time.Since(now)
	for _, held := range due {
		if ok && !owned[held.pid] {
			r.reap(held.pid, held.pidfd)
			delete(r.pending, held.pid)
		} else {
			r.pending[held.pid].postpone(now)
		}
		held.pidfd.Close()
	}
	r.nextDescriptors = time.Now().Add(scanPause(took))
}

// holdDue opens pidfds for the zombies that are due. The caller closes them.
func (r *orphanRun) holdDue(now time.Time) (due []heldZombie) {
	most, end := r.from.heldRoom()
	for pid, z := range r.pending {
		if !z.descriptors || now.Before(z.next) {
			continue
		}
		if len(due) == most {
			break
		}
		p, err := r.from.table.Open(pid)
		if err == nil && p.FD() < end {
			due = append(due, heldZombie{pid, p})
			continue
		}
		if err == nil {
			p.Close()
		}
		z.next = now.Add(shortestPause) // the table of descriptors is full
	}
	return due
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
	for _, held := range beside {
		ours[held.pidfd.FD()] = true
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
