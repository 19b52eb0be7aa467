package reap

import (
	"os"
	"time"
)

// maxHeld is how many zombies to hold by pidfd at a time.
const maxHeld = 1024

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
	limit := r.from.openFilesLimit()
	for _, pid := range inOrder(r.pending) {
		z := r.pending[pid]
		if !z.due(now) {
			continue
		}
		if len(due) == maxHeld {
			return due, true
		}
		pidfd, gone := r.hold(pid)
		switch {
		case gone:
			delete(r.pending, pid)
			continue
		case pidfd != nil && !mayHold(pidfd, len(due), limit):
			pidfd.Close()
			if len(due) > 0 {
				return due, true
			}
			pidfd = nil
		}
		due = append(due, heldZombie{z, pid, pidfd})
	}
	return due, false
}

// hold opens a pidfd, or returns nil if there can be none. It reports whether the zombie is
// gone. The PID may have come to another process meanwhile: to one that is no zombie, or that was
// one when its pidfds are looked for.
func (r *orphanRun) hold(pid int) (p Pidfd, gone bool) {
	if !r.pidfds {
		return nil, !r.from.isZombie(pid)
	}
	p, err := r.from.table.Open(pid)
	if err != nil {
		return nil, err == os.ErrProcessDone
	}
	if state, err := p.Peek(); err == nil && state != Exited {
		p.Close()
		return nil, true
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

// mayHold reports whether a pidfd may be held beside so many others. Four times as many
// descriptors are left to the program, which must not run out of them for a look. None is free
// below that of the pidfd: the kernel gives out the lowest number.
func mayHold(p Pidfd, others, limit int) bool { return limit-p.FD() >= 4*(others+1) }

// openFilesLimit returns the number that descriptors are below.
func (s *system) openFilesLimit() int {
	limit, _, err := s.table.OpenFilesLimit()
	if err != nil {
		return maxHeld
	}
	return int(min(limit, 1<<30))
}

// pidfdsOwned returns the PIDs of those zombie children for which this process has
// a pidfd beside the given ones. PeekDescriptor tells a pidfd from any other file,
// and which child it is for, at a tenth of the price of reading /proc/self/fd. ok is false
// if it does not tell that of the given ones, as where a filter forbids such looks.
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
		pid, err := s.table.PeekDescriptor(fd)
		switch {
		case ours[fd] && err != nil:
			return nil, false
		case !ours[fd] && err == nil && pid != 0:
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
