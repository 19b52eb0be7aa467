package passing

import (
	"maps"
	"slices"
	"time"

	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/report"
	"github.com/autorestart-go/autorestart/internal/sys"
)

// Empty reports whether this image has neither files nor states.
func (s *Store) Empty() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.files) == 0 && len(s.states) == 0
}

// HandOver adds the files and the states to h and calls exec. Until exec returns, the
// store is locked, so that nothing that h names is closed.
func (s *Store) HandOver(h *handover.State, exec func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	manifest, err := s.addTo(h)
	if err != nil {
		return err
	}
	if manifest != nil {
		defer manifest.Close()
	}
	return exec()
}

func (s *Store) addTo(h *handover.State) (manifest *sys.FD, err error) {
	switch {
	case s.loaded:
	case s.settled:
		return nil, nil
	default: // as it came
		for _, kind := range [...]handover.NumberKind{handover.File, handover.Manifest} {
			h.Numbers[kind] = s.inherited.Numbers[kind]
		}
		return nil, nil
	}
	if len(s.files) == 0 && len(s.states) == 0 {
		return nil, nil
	}
	b := []byte(manifestFormat)
	for _, name := range slices.Sorted(maps.Keys(s.files)) {
		fd := s.files[name].fd.Int()
		h.Numbers[handover.File] = append(h.Numbers[handover.File], fd)
		b = appendFileRecord(b, name, fd)
	}
	slices.Sort(h.Numbers[handover.File])
	for _, name := range slices.Sorted(maps.Keys(s.states)) {
		b = appendRecord(b, record{manifestState, name, s.states[name].value})
	}
	b = appendRecord(b, record{kind: manifestEnd})
	if manifest, err = sys.MemoryFile(b); err != nil {
		return nil, err
	}
	h.Set(handover.Manifest, manifest.Int())
	return manifest, nil
}

// RollbackPossible reports whether the previous image may still be executed again,
// and need what it handed over. Unlike [handover.OnTrial] it does not wait for a
// rollback that is under way.
func (s *Store) RollbackPossible() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rollbackPossible()
}

func (s *Store) rollbackPossible() bool {
	return !s.settled && s.inherited.Number(handover.ReadyWithin) != 0
}

// OnSettled has f called when what was unclaimed is closed.
func (s *Store) OnSettled(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.onSettled = append(s.onSettled, f)
}

// StartTimer has f called after the time that an image has to claim what was passed
// to it.
func (s *Store) StartTimer(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.timer = time.AfterFunc(unclaimedTimeout, f)
}

// ShortenTimer has the timer, if there is one, expire after d. It is for tests.
func (s *Store) ShortenTimer(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.timer != nil {
		s.timer.Reset(d)
	}
}

// CloseUnclaimed closes the inherited files, and forgets the inherited states, that
// this image has not claimed. Calls after the first do nothing.
func (s *Store) CloseUnclaimed() {
	s.mu.Lock()
	if s.settled {
		s.mu.Unlock()
		return
	}
	s.settled = true
	if s.loaded {
		s.closeUnclaimed()
	} else {
		s.closeAllInherited()
	}
	if manifest := s.inherited.Number(handover.Manifest); manifest != 0 {
		sys.NewFD(manifest).Close()
	}
	callbacks := s.onSettled
	s.mu.Unlock()
	for _, f := range callbacks {
		f()
	}
}

func (s *Store) closeUnclaimed() {
	for _, name := range slices.Sorted(maps.Keys(s.files)) {
		if !s.files[name].claimed {
			report.Warn("closed an inherited file that this version has not claimed", "file", name)
			s.drop(name)
		}
	}
	maps.DeleteFunc(s.states, func(_ string, own *state) bool { return !own.claimed })
	for _, fd := range s.retired {
		fd.Close()
	}
	s.retired = nil
}

func (s *Store) closeAllInherited() {
	fds := s.inherited.Numbers[handover.File]
	if len(fds) == 0 {
		return
	}
	report.Warn("closed all inherited files: this version has claimed none", "files", len(fds))
	for _, fd := range fds {
		sys.NewFD(fd).Close()
	}
}
