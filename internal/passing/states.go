package passing

import (
	"slices"

	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/report"
	"github.com/autorestart-go/autorestart/internal/sys"
)

// The states that a stand-in has set go to its main process when the stand-in ends.

// OwnStates returns a file with the states that this image has set, or -1 if there are none. The
// caller owns it.
func (s *Store) OwnStates() (fd int) {
	c, unlock := s.lock()
	defer unlock()
	empty := true
	for _, st := range c.states {
		empty = empty && !st.set
	}
	if empty {
		return -1
	}
	fd, err := handover.MemoryFileOf(func(inMemory bool) []byte {
		b := []byte(manifestFormat)
		for name, st := range c.states {
			if st.set && (inMemory || !name.isSecret()) {
				b = appendRecord(b, record{manifestState, name, st.value})
			}
		}
		return appendRecord(b, record{kind: manifestEnd})
	})
	if err != nil {
		report.Warn("states that this stand-in has set are lost: cannot create a file for them; allow memfd_create, or make TMPDIR writable", "reason", err)
		return -1
	}
	return fd
}

// TakeStates takes over the states of a file that [Store.OwnStates] has returned in another
// process, but for those that this image has set itself, or has inherited and removed. It closes
// the file. With -1 it does nothing.
func (s *Store) TakeStates(fd int) {
	if fd < 0 {
		return
	}
	own := sys.NewFD(fd)
	defer own.Close()
	b, err := handover.ReadMemoryFile(fd, maxStates)
	if err != nil {
		return
	}
	records, err := parseManifest(b)
	if err != nil {
		return
	}
	for _, f := range s.takeStates(records) {
		f()
	}
}

// takeStates returns what is to be called then.
func (s *Store) takeStates(records []record) (callbacks []func()) {
	c, unlock := s.lock()
	defer unlock()
	for _, r := range records {
		mine := c.states[r.name]
		if r.kind == manifestState && (mine == nil || !mine.set) && !c.removed[r.name] {
			c.states[r.name.clone()] = &state{value: r.value, claimed: true}
			c.keeping.state(r.name, r.value)
		}
	}
	return slices.Clone(s.onTaken)
}

// OnTaken has f called after states of another process were taken over.
func (s *Store) OnTaken(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.onTaken = append(s.onTaken, f)
}

// maxStates bounds what is read of another process.
const maxStates = 1 << 30
