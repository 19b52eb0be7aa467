package reap

import (
	"errors"
	"os"
)

// exits has the exits of children announced by their pidfds, for as many as there is
// room for.
type exits struct {
	table     Table
	poller    Poller       // nil before the first child needs it
	announced <-chan []int // the poller's, nil without one
	room      int          // how many more pidfds may be opened
	end       int          // descriptors from this number on are left to the program
}

// newExits prepares to watch. The caller closes it.
func newExits(table Table) *exits {
	x := &exits{table: table}
	if limit, _, err := table.OpenFilesLimit(); err == nil {
		x.room, x.end = pidfdRoom(limit)
	}
	return x
}

// pidfdRoom says how many pidfds may be spent of a table of descriptors with this
// limit, and from which descriptor on the table is too full for any.
func pidfdRoom(limit uint64) (count, end int) {
	limit = min(limit, 1<<30)
	return int(limit / 2), int(limit - limit/4)
}

// watch has the child's exit announced, and opens a pidfd for that if the child has
// none. It reports false if that is not possible: the child then has to be looked
// at whenever some child has exited.
func (x *exits) watch(c *child) bool {
	if c.pidfd == nil && !x.open(c) || !x.start() {
		return false
	}
	return x.poller.Add(c.pidfd, c.pid) == nil
}

// open opens a pidfd for the child if there is room for one.
func (x *exits) open(c *child) bool {
	if x.room == 0 {
		return false
	}
	err := c.hold()
	switch {
	case err == nil && c.pidfd.FD() < x.end:
		x.room--
		return true
	case errors.Is(err, os.ErrProcessDone): // the next look at the child shows it
		return false
	}
	c.release()
	x.room = 0 // the next child would fare no better
	return false
}

// start makes the poller when the first child needs it.
func (x *exits) start() bool {
	if x.poller != nil {
		return true
	}
	p, err := x.table.NewPoller()
	if err != nil {
		return false
	}
	x.poller, x.announced = p, p.Exited()
	return true
}

// close ends the watching. The pidfds are the children's.
func (x *exits) close() {
	if x.poller != nil {
		x.poller.Close()
		x.poller, x.announced = nil, nil
	}
}
