package reap

import (
	"errors"
	"os"
	"sync"
)

// Subreaper makes a process a child subreaper for as long as one of several runs
// needs that. Its zero value is ready for use. There is one for a process.
type Subreaper struct {
	mu   sync.Mutex
	runs int // that made this process a child subreaper
}

// Acquire makes sure that orphans come to this process: because it is process 1 or a
// child subreaper, or if become is set because it becomes one, until the last run has
// called release.
func (s *Subreaper) Acquire(table Table, become bool) (release func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	already, _ := table.Subreaper()
	switch {
	case become && s.runs > 0:
	case already || table.PID() == 1:
		return func() {}, nil
	case !become:
		return nil, &os.SyscallError{Syscall: "neither process 1 nor a child subreaper", Err: errors.ErrUnsupported}
	default:
		if err := table.SetSubreaper(true); err != nil {
			return nil, err
		}
	}
	s.runs++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.runs--; s.runs == 0 {
			table.SetSubreaper(false)
		}
	}, nil
}
