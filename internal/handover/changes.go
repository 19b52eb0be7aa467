package handover

import (
	"strconv"

	"github.com/autorestart-go/autorestart/internal/rawsys"
)

// A change is made to the process right before an exec, for its moment.
type change interface {
	// do makes the change. An exec that has failed calls undo.
	do() (undo func(), err error)
}

// doAll makes changes in their order. If one of them fails, those before it are undone.
func doAll(changes []change) (undo func(), err error) {
	var undos []func()
	undo = func() {
		for i := len(undos) - 1; i >= 0; i-- {
			undos[i]()
		}
	}
	for _, c := range changes {
		one, err := c.do()
		if err != nil {
			undo()
			return nil, err
		}
		undos = append(undos, one)
	}
	return undo, nil
}

// An inheritance has descriptors of one kind cross the exec. One that can't cross fails the
// exec: the next image would take whatever has its number there.
type inheritance struct {
	kind NumberKind
	fds  []int
}

// inheritances are the descriptors of s.
func (s *State) inheritances() (all []change) {
	for kind := Inotify; kind < numNumbers; kind++ {
		if fds := s.Numbers[kind]; len(fds) > 0 {
			all = append(all, inheritance{kind, fds})
		}
	}
	return all
}

func (i inheritance) do() (undo func(), err error) {
	var changed []int
	undo = func() {
		for _, fd := range changed {
			rawsys.CloseOnExec(fd)
		}
	}
	for _, fd := range i.fds {
		was, err := rawsys.KeepOnExec(fd)
		if err != nil {
			undo()
			return nil, &crossError{i.kind, fd, err}
		}
		if was {
			changed = append(changed, fd)
		}
	}
	return undo, nil
}

// A crossError says which descriptor can't cross the exec.
type crossError struct {
	kind NumberKind
	fd   int
	err  error
}

func (e *crossError) Error() string {
	return "descriptor " + strconv.Itoa(e.fd) + " (" + numberKeys[e.kind] + ") can't cross the exec: " + e.err.Error()
}

func (e *crossError) Unwrap() error { return e.err }
