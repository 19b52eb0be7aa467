package passing

import (
	"bytes"
	"maps"
	"slices"
	"time"

	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/sys"
)

// A connection is what the store knows of a file that is one. Where there is no room for all
// files, connections are left out, those that have been idle for longest first.
type connection struct {
	used  time.Time // last
	state []byte    // crosses with the file or not at all; nil if there is none
}

// Lend passes the connection with the descriptor fd on under the given name, in place of
// the file that had the name, and with it the state of the name, which may be nil. The
// descriptor itself crosses, and no duplicate. The caller still owns it, and keeps it open
// until the name is passed again or unpassed. During an exec that call waits until
// the exec has failed.
//
// Lend fails only if fd is the number of a standard stream, which never crosses, and there is
// no descriptor left for a duplicate.
func (s *Store) Lend(name Name, fd int, state []byte, used time.Time) (err error) {
	own, lent := sys.NewFD(fd), true
	if fd <= 2 {
		if own, err = sys.Duplicate(fd); err != nil {
			return err
		}
		lent = false
	}
	c, unlock := s.lock()
	defer unlock()
	c.drop(name)
	c.files[name] = &file{
		name: name, fd: own, claimed: true, lent: lent,
		connection: &connection{used: used, state: bytes.Clone(state)},
	}
	return nil
}

// Claim claims the inherited connection with the given name, and the state of the name. They
// cross the next exec under newName; in a rollback the connection goes back as it came. The
// store still owns the descriptor, until Take.
func (s *Store) Claim(name, newName Name, used time.Time) (fd int, state []byte, ok bool) {
	c, unlock := s.lock()
	defer unlock()
	f := c.files[name]
	if f == nil {
		return -1, nil, false
	}
	delete(c.files, name)
	f.name, f.claimed, f.connection = newName, true, &connection{used: used}
	if own := c.states[name]; own != nil {
		f.state = own.value
		delete(c.states, name)
	}
	c.drop(newName)
	c.files[newName] = f
	return f.fd.Int(), bytes.Clone(f.state), true
}

// addConnections adds the connections to h, and their records by add, which reports whether
// there was room for them.
func (c *content) addConnections(h *handover.State, add func(...record) (added bool)) {
	closed := 0
	for _, f := range c.byUse() {
		records := []record{fileRecord(f.name, f.fd.Int())}
		if f.state != nil {
			records = append(records, record{manifestState, f.name, f.state})
		}
		if !add(records...) {
			closed++
			continue
		}
		h.Numbers[handover.File] = append(h.Numbers[handover.File], f.fd.Int())
		h.Expendable = append(h.Expendable, f.fd.Int())
	}
	slices.Sort(h.Numbers[handover.File]) // which has the shortest text form
	slices.Reverse(h.Expendable)
	if closed > 0 {
		h.Set(handover.Closed, closed)
	}
}

// byUse returns all connections, the one that was used last first.
func (c *content) byUse() []*file {
	connections := slices.DeleteFunc(slices.Collect(maps.Values(c.files)), func(f *file) bool { return f.connection == nil })
	slices.SortFunc(connections, func(a, b *file) int { return b.used.Compare(a.used) })
	return connections
}
