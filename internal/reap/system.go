package reap

import (
	"errors"
	"os"
	"sync/atomic"
)

// system is the Table with the answers that can be believed.
type system struct {
	table          Table
	numbersChecked atomic.Bool
}

// peek is Peek for code that waits or signals next. A child that can't be looked at,
// for whatever reason, may have exited: the wait shows it.
func (s *system) peek(pid int) State {
	state, err := s.table.Peek(pid)
	if err != nil {
		return Exited
	}
	return state
}

// isChild reports whether the process is certainly a child of this one.
func (s *system) isChild(pid int) bool {
	state, err := s.table.Peek(pid)
	return err == nil && state != NotOurs
}

// isZombie reports whether the process is certainly a child that has exited.
func (s *system) isZombie(pid int) bool {
	state, err := s.table.Peek(pid)
	return err == nil && state == Exited
}

// someZombie returns a child that has exited, and 0 if there is none. ok is false if
// it can't be told.
func (s *system) someZombie() (pid int, ok bool) {
	pid, state, err := s.table.PeekAny()
	switch {
	case err != nil:
		return 0, false
	case state == Exited:
		return pid, true
	default:
		return 0, true
	}
}

var errOtherNumbers = errors.New("/proc shows the PIDs of another PID namespace")

// stat is Stat if its answer is about this process's PIDs. A yes is remembered. A
// no is not, because process 1 may mount /proc later.
func (s *system) stat(pid int) (Stat, error) {
	if !s.numbersChecked.Load() {
		if !s.table.OwnNumbers() {
			return Stat{}, errOtherNumbers
		}
		s.numbersChecked.Store(true)
	}
	return s.table.Stat(pid)
}

// mayPass reports whether something in /proc may be read later: not because it is not there, or
// not to be seen, but because a descriptor or memory is missing.
func mayPass(err error) bool {
	return err != nil && err != errOtherNumbers && !errors.Is(err, os.ErrNotExist) &&
		!errors.Is(err, os.ErrPermission) && !errors.Is(err, errors.ErrUnsupported)
}

// command returns the name of a process, "" if it can't be had.
func (s *system) command(pid int) string {
	stat, err := s.stat(pid)
	if err != nil {
		return ""
	}
	return stat.Command
}

// session returns the session of a process, or of this one if pid is 0. It returns -1
// if it can't be had.
func (s *system) session(pid int) int {
	sid, err := s.table.Session(pid)
	if err != nil {
		return -1
	}
	return sid
}

// Describe returns what can be known of a process.
func (s *system) Describe(pid int) Process {
	p := Process{PID: pid}
	if stat, err := s.stat(pid); err == nil {
		p.Command, p.Started = stat.Command, s.table.Time(stat.Start)
		p.Args, _ = s.table.Args(pid)
	}
	return p
}
