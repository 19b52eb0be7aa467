package fdstore

// GiveUp has nothing kept by this image any more.
func (s *Store) GiveUp(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.giveUp(err)
	s.sync()
}

// Clear has systemd remove everything, and nothing kept by this image any more.
func (s *Store) Clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clear()
	s.sync()
}

// giveUp is GiveUp with s locked. The caller calls sync.
func (s *Store) giveUp(err error) {
	if s.statesFail() {
		s.logger.Warn("states and files are not found after a crash: cannot write the list of them", "reason", err)
	}
	s.clear()
}

// clear is Clear with s locked. The caller calls sync.
func (s *Store) clear() {
	s.gone = true
	s.slots.clear()
	for _, own := range s.order {
		if own.sent {
			s.removed = append(s.removed, own.name)
		}
	}
	s.order = nil
	clear(s.byName)
	clear(s.files)
}
