package reap

import "slices"

// identity is a PID and the inherited child that it was listed for. It answers one
// question: does the PID still belong to that child?
//
// A PID belongs to a process until the process has been waited for. Only this
// package should wait for inherited children. If another part of the program does,
// as by wait4(-1), the system may give the PID to another process, and that process
// may be a child that this image has started.
type identity struct {
	from  *Snapshot
	pid   int
	pidfd Pidfd // nil if there is none; owned by the identity

	// vouched means that vouch has just shown that the process, if it is a child at
	// all, is not younger than this image.
	vouched bool

	// command is the name of the process at the last look that had to read it.
	command string
}

// belongs reports whether the PID still belongs to the child, as far as it can be
// told. It tries what costs least first:
//
//   - The kinship: the process must be a child of this process. A pidfd
//     stands for the process that it was opened for, a PID for the one that has it now.
//   - The time: in the tick in which the image was started, the system does not get
//     through all PIDs.
//   - The start time: a process that is younger than this image was not inherited.
func (id *identity) belongs() bool {
	belongs, _ := id.check()
	return belongs
}

// check is belongs, and why that is not certain: there is no start time.
func (id *identity) check() (belongs bool, err error) {
	s := id.from
	if id.state() == NotOurs {
		return false, nil
	}
	if id.vouched || s.table.Now() == s.imageStart {
		return true, nil
	}
	stat, err := s.stat(id.pid)
	if err != nil {
		return true, err // for all that can be told
	}
	id.command = stat.Command
	return stat.Start <= s.imageStart, nil
}

// state looks at the child by its pidfd, or by its PID where that is not possible.
func (id *identity) state() State {
	if id.pidfd != nil {
		if state, err := id.pidfd.Peek(); err == nil {
			return state
		}
		// Linux 5.3 has no such call, and a filter may not allow it.
	}
	return id.from.peek(id.pid)
}

// hold opens a pidfd if there can be one. Afterwards belongs reports whether it was
// opened for the child.
func (id *identity) hold() error {
	p, err := id.from.table.Open(id.pid)
	if err == nil {
		id.pidfd = p
	}
	return err
}

// release closes the pidfd.
func (id *identity) release() {
	if id.pidfd != nil {
		id.pidfd.Close()
		id.pidfd = nil
	}
}

// vouch reports for the first of the given PIDs, at least one, which of them certainly
// still belong to their children. It reads the list of children and one start time,
// because to look at a process takes four times as long as to wait for a zombie.
// If only few of the children before these are living, it reads no further into
// the list than it has to.
//
// The kernel appends to the list of the main thread, so the inherited children come
// first there, in the order of the snapshot. If the last of them is older than this
// image, so is every one in front of it.
func (s *Snapshot) vouch(pids []int, living int) []bool {
	if s.table.Now() == s.imageStart {
		return slices.Repeat([]bool{true}, len(pids))
	}
	before := len(s.all) - len(pids)
	isRest := before >= 0 && slices.Equal(pids, s.all[before:]) // nearly always
	if isRest && living < fewLiving {
		present, err := s.table.FirstChildrenOf(s.table.PID())
		if vouched, seen := s.inherited(present, err); seen > before {
			return vouched[before:seen]
		}
	}
	present, err := s.table.ChildrenOf(s.table.PID())
	vouched, _ := s.inherited(present, err)
	if isRest {
		return vouched[before:]
	}
	byPID := make(map[int]bool, len(s.all))
	for i, pid := range s.all {
		byPID[pid] = vouched[i]
	}
	some := make([]bool, len(pids))
	for i, pid := range pids {
		some[i] = byPID[pid]
	}
	return some
}

// fewLiving is fewer children than FirstChildrenOf returns of a long list. While no
// more are left of those before, the beginning of the list shows others each time.
// To read the whole list takes longer, because for each page the kernel goes through
// all that comes before.
const fewLiving = 200

// inherited reports for each PID of the snapshot whether it certainly belongs to its
// child, because it is in the list of children that are present. The list reached
// up to the first seen of them.
func (s *Snapshot) inherited(present []int, err error) (vouched []bool, seen int) {
	vouched = make([]bool, len(s.all))
	if err != nil {
		return vouched, 0
	}
	for i, pid := range s.all {
		if len(present) > 0 && present[0] == pid {
			present = present[1:]
			vouched[i] = true
			seen = i + 1
		}
	}
	for i, pid := range slices.Backward(s.all) {
		if !vouched[i] {
			continue
		}
		if stat, err := s.stat(pid); err == nil && stat.Start <= s.imageStart {
			break
		}
		vouched[i] = false
	}
	return vouched, seen
}
