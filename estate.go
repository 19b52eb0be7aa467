package autorestart

import (
	"bytes"
	"maps"
	"os"
	"slices"

	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/report"
)

// Pass has the next image inherit f under the given name: asked for it there,
// [Inherited] returns the same open file. The library keeps a descriptor of its
// own, which crosses every exec until the name is passed again, or with a nil f.
// The caller still owns f.
//
// Only versions that contain this library inherit anything. It fails where the
// table of descriptors is full, and wraps [errors.ErrUnsupported] on systems
// without an exec.
func Pass(name string, f *os.File) error {
	fd := -1
	if f != nil {
		var err error
		if fd, err = duplicate(f); err != nil {
			return err
		}
	}
	defer lockEstate()()
	e := succession.estate
	e.drop(name)
	if f != nil {
		e.files[name] = &heirloom{fd: fd, wanted: true}
	}
	return nil
}

// Inherited returns the file that an image before this one has passed under the
// given name, or this one itself. The caller owns it; it goes on crossing every
// exec even so, see [Pass]. The error wraps [os.ErrNotExist] if there is none.
//
// What nobody has asked for when [Ready] is called, or after a minute where it is
// not, is closed.
func Inherited(name string) (*os.File, error) {
	defer lockEstate()()
	own := succession.estate.files[name]
	if own == nil {
		return nil, &os.PathError{Op: "inherit", Path: name, Err: os.ErrNotExist}
	}
	fd, err := duplicateFD(own.fd)
	if err != nil {
		return nil, err
	}
	own.wanted = true
	return os.NewFile(uintptr(fd), name), nil
}

// takeFile is [handover.TakeFile].
func takeFile(name string) (fd int, ok bool) {
	unlock := lockEstate()
	own := succession.estate.files[name]
	delete(succession.estate.files, name)
	unlock()
	if own == nil {
		return -1, false
	}
	handover.Forget(handover.File, own.fd)
	return own.fd, true
}

// InheritedNames returns the names of the files that were passed to this image and
// are still open, asked for or not, sorted.
func InheritedNames() []string {
	defer lockEstate()()
	return slices.Sorted(maps.Keys(succession.estate.files))
}

// SetState gives the next image a few bytes under a name: a counter, a session
// key, a cache. They go from image to image until they are set again, or set to
// nil. The library keeps a copy, and writes it out while everything rests for the
// exec: megabytes take milliseconds, a gigabyte takes seconds.
func SetState(name string, value []byte) {
	defer lockEstate()()
	if value == nil {
		delete(succession.estate.states, name)
		return
	}
	succession.estate.states[name] = &state{value: bytes.Clone(value), wanted: true}
}

// State returns what an image before this one has set under the given name, or
// this one itself, and whether there is any. What nobody has asked for when
// [Ready] is called is forgotten.
func State(name string) (value []byte, ok bool) {
	defer lockEstate()()
	s := succession.estate.states[name]
	if s == nil {
		return nil, false
	}
	s.wanted = true
	return bytes.Clone(s.value), true
}

// estate are the files and states of this image.
type estate struct {
	files  map[string]*heirloom
	states map[string]*state

	// retired are inherited descriptors that are of no use to this image any more.
	// As long as it can be taken back, the one before may need them.
	retired []int
}

type heirloom struct {
	fd     int // owned
	handed bool
	wanted bool // by this image
}

type state struct {
	value  []byte
	wanted bool // by this image
}

// lockEstate has the estate ready for use until the unlock that it returns.
func lockEstate() (unlock func()) {
	s := &succession
	s.mu.Lock()
	if s.estate == nil {
		e := &estate{files: map[string]*heirloom{}, states: map[string]*state{}}
		if !s.settled {
			e.take(inherited.Number(handover.Manifest), inherited.Numbers[handover.File])
		}
		s.estate, s.bequeath, s.dissolve = e, e.bequeath, e.dissolve
		handover.TakeFile = takeFile
	}
	return s.mu.Unlock
}

// take takes over what was handed.
func (e *estate) take(manifest int, fds []int) {
	unnamed := slices.Clone(fds)
	defer func() { e.retired = unnamed }()
	if manifest == 0 {
		return
	}
	content, err := readMemoryFile(manifest)
	var records []record
	if err == nil {
		records, err = parseManifest(content)
	}
	if err != nil {
		report.Warn("what the version before has handed over can't be told", "reason", err)
		return
	}
	for _, r := range records {
		switch r.kind {
		case manifestFile:
			if i := slices.Index(unnamed, r.fd()); i >= 0 {
				unnamed = slices.Delete(unnamed, i, i+1)
				e.files[r.name] = &heirloom{fd: r.fd(), handed: true}
			}
		case manifestState:
			e.states[r.name] = &state{value: r.value}
		}
	}
}

func (e *estate) drop(name string) {
	h := e.files[name]
	if h == nil {
		return
	}
	delete(e.files, name)
	// Not handover.OnProbation, which has its own lock: nobody is after that is settled.
	if h.handed && !succession.settled && inherited.Number(handover.ReadyWithin) != 0 {
		e.retired = append(e.retired, h.fd)
	} else {
		closeDescriptor(h.fd)
	}
}

// dissolve lets go of what nobody wanted.
func (e *estate) dissolve() {
	for _, name := range slices.Sorted(maps.Keys(e.files)) {
		if !e.files[name].wanted {
			report.Warn("closed what the version before has handed over and nobody asked for", "file", name)
			e.drop(name)
		}
	}
	maps.DeleteFunc(e.states, func(_ string, s *state) bool { return !s.wanted })
	closeAll(e.retired)
	e.retired = nil
}

// bequeath adds the estate to h.
func (e *estate) bequeath(h *handover.Handover) error {
	h.Numbers[handover.File], h.Numbers[handover.Manifest] = nil, nil
	b := []byte(manifestFormat)
	for _, name := range slices.Sorted(maps.Keys(e.files)) {
		h.Numbers[handover.File] = append(h.Numbers[handover.File], e.files[name].fd)
		b = appendFileRecord(b, name, e.files[name].fd)
	}
	slices.Sort(h.Numbers[handover.File])
	for _, name := range slices.Sorted(maps.Keys(e.states)) {
		b = appendRecord(b, record{manifestState, name, e.states[name].value})
	}
	if len(b) == len(manifestFormat) {
		return nil
	}
	b = appendRecord(b, record{kind: manifestEnd})
	fd, err := newMemoryFile(b)
	if err == nil {
		h.Set(handover.Manifest, fd)
		h.Temporary = append(h.Temporary, fd)
	}
	return err
}
