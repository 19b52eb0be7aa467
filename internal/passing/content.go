package passing

import (
	"bytes"
	"maps"
	"math"
	"os"
	"slices"
	"strings"

	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/report"
	"github.com/autorestart-go/autorestart/internal/sys"
)

// content is what is in a [Store]. Its methods are called with the store locked.
type content struct {
	store   *Store
	files   map[Name]*file
	states  map[Name]*state
	removed map[Name]bool // inherited states that this image has removed

	// retired are inherited descriptors of no use to this image. The previous image
	// may need them as long as this one can be rolled back.
	retired []*sys.FD

	keeping
}

type file struct {
	name      Name
	fd        *sys.FD
	inherited bool
	claimed   bool // by this image
	lent      bool // another part of the program owns the descriptor
	*connection
}

type state struct {
	value   []byte
	claimed bool // by this image
	set     bool // by this image

	inherited bool // a state of this name
}

// lock locks s until unlock is called, and returns its content. The first call takes
// over what was inherited.
func (s *Store) lock() (c *content, unlock func()) {
	s.mu.Lock()
	c, ok := s.content.(*content)
	if !ok {
		c = &content{store: s, files: map[Name]*file{}, states: map[Name]*state{}, removed: map[Name]bool{}}
		if !s.isSettled() {
			c.takeOver(s.inherited)
		}
		s.content = c
	}
	return c, s.mu.Unlock
}

// takeOver takes over what was inherited.
func (c *content) takeOver(inherited *handover.State) {
	unnamed := map[int]bool{}
	for _, fd := range inherited.Numbers[handover.File] {
		unnamed[fd] = true
	}
	for _, r := range readManifest(inherited) {
		switch r.kind {
		case manifestFile:
			if fd := r.fd(); unnamed[fd] {
				delete(unnamed, fd)
				c.files[r.name] = &file{name: r.name, fd: sys.NewFD(fd), inherited: true, claimed: r.name.isCarried()}
			}
		case manifestState:
			c.states[r.name] = &state{value: r.value, inherited: true, claimed: r.name.isCarried()}
		}
	}
	for fd := range unnamed {
		c.retired = append(c.retired, sys.NewFD(fd))
	}
}

// Pass passes a duplicate of f on under the given name, in place of the file that had
// the name.
func (s *Store) Pass(name Name, f *os.File) error {
	fd, err := sys.DuplicateFile(f)
	if err == nil {
		s.pass(name, fd)
	}
	return err
}

// PassDescriptor is Pass of a duplicate of fd.
func (s *Store) PassDescriptor(name Name, fd int) error {
	own, err := sys.Duplicate(fd)
	if err == nil {
		s.pass(name, own)
	}
	return err
}

// pass passes fd on, which it takes over.
func (s *Store) pass(name Name, fd *sys.FD) {
	c, unlock := s.lock()
	defer unlock()
	c.drop(name)
	name = name.clone()
	own := &file{name: name, fd: fd, claimed: true}
	c.files[name] = own
	c.keeping.file(own)
}

// clone copies a name: an argument of the program may be overwritten by a title.
func (n Name) clone() Name { return Name(strings.Clone(string(n))) }

// Unpass undoes Pass, and [Store.Lend]: no file has the name any more.
func (s *Store) Unpass(name Name) {
	c, unlock := s.lock()
	defer unlock()
	c.drop(name)
}

// Inherited claims the file with the given name and returns a duplicate of it, which
// the caller owns. The error wraps [os.ErrNotExist] if there is none.
func (s *Store) Inherited(name Name) (*os.File, error) {
	fd, err := s.InheritedDescriptor(name)
	if err != nil {
		return nil, err
	}
	return fd.File(name.String()), nil
}

// InheritedDescriptor is Inherited for a descriptor.
func (s *Store) InheritedDescriptor(name Name) (*sys.FD, error) {
	c, unlock := s.lock()
	defer unlock()
	own := c.files[name]
	if own == nil {
		return nil, &os.PathError{Op: "inherit", Path: name.String(), Err: os.ErrNotExist}
	}
	fd, err := sys.Duplicate(own.fd.Int())
	if err != nil {
		return nil, err
	}
	own.claimed = true
	return fd, nil
}

// Take removes the file with the given name from what crosses an exec, to the next
// image or back to the previous one. The caller owns the descriptor.
func (s *Store) Take(name Name) (fd *sys.FD, ok bool) {
	c, unlock := s.lock()
	defer unlock()
	own := c.files[name]
	if own == nil {
		return nil, false
	}
	delete(c.files, name)
	c.keeping.drop(own)
	return own.fd, true
}

// Names returns the names of all files, sorted.
func (s *Store) Names() []Name {
	c, unlock := s.lock()
	defer unlock()
	return slices.Sorted(maps.Keys(c.files))
}

// InheritedFiles returns the names that the program has for the files that were passed to this
// image, sorted.
func (s *Store) InheritedFiles() (names []string) {
	c, unlock := s.lock()
	defer unlock()
	for _, f := range c.files {
		if name, ok := f.name.program(); ok && f.inherited {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// SetState passes a copy of value on under the given name. With a nil value no state
// has the name any more.
func (s *Store) SetState(name Name, value []byte) {
	c, unlock := s.lock()
	defer unlock()
	c.keeping.state(name, value)
	before := c.states[name]
	inherited := before != nil && before.inherited || c.removed[name]
	if value == nil {
		if inherited {
			c.removed[name.clone()] = true
		}
		delete(c.states, name)
		return
	}
	c.states[name.clone()] = &state{value: bytes.Clone(value), claimed: true, set: true, inherited: inherited}
}

// State claims the state with the given name and returns a copy of it.
func (s *Store) State(name Name) (value []byte, ok bool) {
	c, unlock := s.lock()
	defer unlock()
	own := c.states[name]
	if own == nil {
		return nil, false
	}
	own.claimed = true
	return bytes.Clone(own.value), true
}

// drop closes the file with the given name, if there is one.
func (c *content) drop(name Name) {
	f := c.files[name]
	if f == nil {
		return
	}
	delete(c.files, name)
	c.keeping.drop(f)
	if f.lent {
		return
	}
	if f.inherited && c.store.rollbackPossible() {
		c.retired = append(c.retired, f.fd)
		return
	}
	f.fd.Close()
}

func (c *content) empty() bool { return len(c.files) == 0 && len(c.states) == 0 }

// addTo adds the content to h. The caller calls release when the exec has failed. Without a
// file for the manifest, what there is room for crosses in the variable, unless
// there may be a file soon.
func (c *content) addTo(h *handover.State) (release func(), err error) {
	if c.empty() {
		return func() {}, nil
	}
	n, release, err := h.MemoryFileOf(func(inMemory bool) []byte {
		b, _ := c.addRecords(h, math.MaxInt, inMemory)
		return b
	})
	if err == nil {
		h.Set(handover.Manifest, n)
		return release, nil
	}
	b, missing := c.addRecords(h, maxContent, false)
	if missing > 0 && handover.MayPass(err) {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	h.Texts[handover.Content] = escape(b)
	h.Set(handover.Missing, missing)
	return func() {}, nil
}

// maxContent is the length in bytes of a manifest that crosses in the variable. Escaped, it
// takes at most half of the room there. The other half is for the descriptors that it names.
const maxContent = 32 << 10

// addRecords adds the files to h, and returns a manifest of at most limit bytes. Where there
// is no room for all, connections are left out first, and counted as Closed; missing is how many
// other files and states are. Secrets are left out unless the manifest stays in memory.
func (c *content) addRecords(h *handover.State, limit int, inMemory bool) (manifest []byte, missing int) {
	h.Numbers[handover.File], h.Numbers[handover.Closed], h.Expendable = nil, nil, nil
	b := []byte(manifestFormat)
	end := appendRecord(nil, record{kind: manifestEnd})
	add := func(records ...record) (added bool) {
		longer := b
		for _, r := range records {
			longer = appendRecord(longer, r)
		}
		if len(longer) > limit-len(end) {
			return false
		}
		b = longer
		return true
	}
	for _, f := range c.byDescriptor() {
		switch {
		case f.connection != nil:
		case add(fileRecord(f.name, f.fd.Int())):
			h.Numbers[handover.File] = append(h.Numbers[handover.File], f.fd.Int())
		default:
			missing++
		}
	}
	secrets := 0
	for _, name := range c.bySize() {
		switch {
		case name.isSecret() && !inMemory:
			secrets++
		case !add(record{manifestState, name, c.states[name].value}):
			missing++
		}
	}
	warnOfSecrets(secrets)
	if !h.ForStandIn {
		c.addConnections(h, add)
	}
	return append(b, end...), missing
}

// bySize returns the names of all states, those with short values first, so that as many as
// possible cross where room is short.
func (c *content) bySize() []Name {
	return slices.SortedFunc(maps.Keys(c.states), func(a, b Name) int {
		return len(c.states[a].value) - len(c.states[b].value)
	})
}

// byDescriptor returns all files in the order of their descriptors, in which these
// have the shortest text form.
func (c *content) byDescriptor() []*file {
	return slices.SortedFunc(maps.Values(c.files), func(a, b *file) int { return a.fd.Int() - b.fd.Int() })
}

func (c *content) closeUnclaimed() {
	for _, f := range c.byDescriptor() {
		if !f.claimed {
			report.Warn("closed an inherited file that this version has not claimed", "file", f.name.String())
			c.drop(f.name)
		}
	}
	for name, own := range c.states {
		if !own.claimed {
			delete(c.states, name)
			c.keeping.state(name, nil)
		}
	}
	c.closeRetired()
}

func (c *content) closeRetired() {
	for _, fd := range c.retired {
		fd.Close()
	}
	c.retired = nil
}

// CloseRetired closes what only the previous image would need after a rollback. It is for an
// image that is never rolled back.
func (s *Store) CloseRetired() {
	c, unlock := s.lock()
	defer unlock()
	c.closeRetired()
}
