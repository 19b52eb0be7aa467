// Package passing has the files and the state that a program passes on to its next
// image. It owns the descriptors that cross the exec for that.
package passing

import (
	"bytes"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/report"
	"github.com/autorestart-go/autorestart/internal/sys"
)

// unclaimedTimeout is how long an image that never becomes ready has to claim what
// was passed to it.
const unclaimedTimeout = time.Minute

// Process has the files and states of this process.
var Process = NewStore(&handover.Inherited)

// A Store has the files and states of one image: those that the image before passed
// to it, and those that it passes on.
type Store struct {
	mu        sync.Mutex
	inherited *handover.State
	loaded    bool // what was inherited is in files and states
	files     map[string]*file
	states    map[string]*state

	// retired are inherited descriptors of no use to this image. The previous image
	// may need them as long as this one can be rolled back.
	retired []*sys.FD

	settled   bool // what was unclaimed is closed
	onSettled []func()
	timer     *time.Timer // of StartTimer; nil before
}

type file struct {
	fd        *sys.FD
	inherited bool
	claimed   bool // by this image
}

type state struct {
	value   []byte
	claimed bool // by this image
}

// NewStore returns a store with what was inherited.
func NewStore(inherited *handover.State) *Store { return &Store{inherited: inherited} }

// lock locks s, with what was inherited loaded, until the unlock that it returns.
func (s *Store) lock() (unlock func()) {
	s.mu.Lock()
	if !s.loaded {
		s.loaded = true
		s.files, s.states = map[string]*file{}, map[string]*state{}
		if !s.settled {
			s.load()
		}
	}
	return s.mu.Unlock
}

// load takes over what was inherited.
func (s *Store) load() {
	unnamed := slices.Clone(s.inherited.Numbers[handover.File])
	for _, r := range s.readManifest() {
		switch r.kind {
		case manifestFile:
			if i := slices.Index(unnamed, r.fd()); i >= 0 {
				unnamed = slices.Delete(unnamed, i, i+1)
				s.files[r.name] = &file{fd: sys.NewFD(r.fd()), inherited: true}
			}
		case manifestState:
			s.states[r.name] = &state{value: r.value}
		}
	}
	for _, fd := range unnamed {
		s.retired = append(s.retired, sys.NewFD(fd))
	}
}

func (s *Store) readManifest() []record {
	fd := s.inherited.Number(handover.Manifest)
	if fd == 0 {
		return nil
	}
	content, err := sys.ReadFile(fd)
	var records []record
	if err == nil {
		records, err = parseManifest(content)
	}
	if err != nil {
		report.Warn("cannot read what the previous version passed on", "reason", err)
	}
	return records
}

// Pass passes a duplicate of f on under the given name, in place of what had the
// name. With a nil f nothing has the name any more.
func (s *Store) Pass(name string, f *os.File) error {
	var fd *sys.FD
	if f != nil {
		var err error
		if fd, err = sys.DuplicateFile(f); err != nil {
			return err
		}
	}
	defer s.lock()()
	s.drop(name)
	if fd != nil {
		s.files[name] = &file{fd: fd, claimed: true}
	}
	return nil
}

// Inherited claims the file with the given name and returns a duplicate of it, which
// the caller owns. The error wraps [os.ErrNotExist] if there is none.
func (s *Store) Inherited(name string) (*os.File, error) {
	defer s.lock()()
	own := s.files[name]
	if own == nil {
		return nil, &os.PathError{Op: "inherit", Path: name, Err: os.ErrNotExist}
	}
	fd, err := sys.Duplicate(own.fd.Int())
	if err != nil {
		return nil, err
	}
	own.claimed = true
	return fd.File(name), nil
}

// Take removes the file with the given name from what crosses an exec, to the next
// image or back to the previous one. The caller owns the descriptor.
func (s *Store) Take(name string) (fd *sys.FD, ok bool) {
	unlock := s.lock()
	own := s.files[name]
	delete(s.files, name)
	unlock()
	if own == nil {
		return nil, false
	}
	handover.Forget(handover.File, own.fd.Int())
	return own.fd, true
}

// Names returns the names of all files, sorted.
func (s *Store) Names() []string {
	defer s.lock()()
	return slices.Sorted(maps.Keys(s.files))
}

// SetState passes a copy of value on under the given name. With a nil value nothing
// has the name any more.
func (s *Store) SetState(name string, value []byte) {
	defer s.lock()()
	if value == nil {
		delete(s.states, name)
		return
	}
	s.states[name] = &state{value: bytes.Clone(value), claimed: true}
}

// State claims the state with the given name and returns a copy of it.
func (s *Store) State(name string) (value []byte, ok bool) {
	defer s.lock()()
	own := s.states[name]
	if own == nil {
		return nil, false
	}
	own.claimed = true
	return bytes.Clone(own.value), true
}

// drop closes the file with the given name. It is called with s locked.
func (s *Store) drop(name string) {
	f := s.files[name]
	if f == nil {
		return
	}
	delete(s.files, name)
	if f.inherited && s.rollbackPossible() {
		s.retired = append(s.retired, f.fd)
		return
	}
	f.fd.Close()
}
