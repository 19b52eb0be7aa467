package fdstore

import (
	"errors"
	"slices"
	"strconv"

	"github.com/autorestart-go/autorestart/internal/crashlog"
	"github.com/autorestart-go/autorestart/internal/passing"
	"github.com/autorestart-go/autorestart/internal/sys"
)

// A recovered set is what the log of a set names.
type recovered struct {
	set     string
	created int64  // when the set was made
	network uint64 // of the process; 0 if it is not known
	others  int    // see Config; of the start, 0 if it is not known
	slots   Log
	log     *crashlog.Log
	files   map[passing.Name]storedFile
	states  map[passing.Name][]byte
	passed  map[string]int // descriptors of the files, by their names in systemd's store

	unnamed []string // files that systemd may have
}

// A storedFile is a file as the log names it.
type storedFile struct {
	name string // in systemd's store
	id   ID
}

// open opens the log of a set.
func open(set string, passed []Passed) (r *recovered, err error) {
	var slots Log
	for i := range slots {
		name := fileName(set, logPrefix+strconv.Itoa(i))
		found := slices.IndexFunc(passed, func(p Passed) bool { return p.Name == name })
		if found < 0 {
			return nil, errors.New("found no file " + name + ", expected both files of the log")
		}
		slots[i] = sys.NewFD(passed[found].FD)
	}
	log, content, err := crashlog.Open(slots.files())
	if err != nil {
		return nil, err
	}
	if r, err = parse(log, content); err != nil {
		return nil, err
	}
	if r.set != set {
		return nil, errors.New("found the log of set " + strconv.Quote(r.set))
	}
	r.slots = slots
	return r, nil
}

// find finds the files of the set. It fails if one is missing, or is another one.
func (r *recovered) find(passed []Passed) error {
	for name, f := range r.files {
		found := slices.IndexFunc(passed, func(p Passed) bool {
			id, err := IDOf(p.FD)
			return p.Name == f.name && err == nil && id == f.id
		})
		if found < 0 {
			return errors.New("found no file " + f.name + " that is " + name.String())
		}
		r.passed[f.name] = passed[found].FD
	}
	return nil
}

// leaveNetwork removes the sockets of the network namespace of the process before this one, unless this process is in
// the same one. It returns how many it has removed. It keeps a socket of a third namespace: the program has
// opened it there on purpose.
func (r *recovered) leaveNetwork(own uint64) (left int) {
	if own == 0 || r.network == 0 || own == r.network {
		return 0
	}
	for stored, fd := range r.passed {
		if networkOf(fd) == r.network {
			delete(r.passed, stored)
			left++
		}
	}
	for name, f := range r.files {
		if _, ok := r.passed[f.name]; !ok {
			delete(r.files, name)
		}
	}
	return left
}

// closeSurplus closes the passed files that r does not have, and returns their names, but for those
// that files of r have, too.
func (r *recovered) closeSurplus(passed []Passed) (names []string) {
	used, usedNames := map[int]bool{}, map[string]bool{}
	for i, fd := range r.slots {
		used[fd.Int()] = true
		usedNames[fileName(r.set, logPrefix+strconv.Itoa(i))] = true
	}
	for name, fd := range r.passed {
		used[fd], usedNames[name] = true, true
	}
	surplus := slices.DeleteFunc(slices.Clone(passed), func(p Passed) bool { return used[p.FD] })
	return slices.DeleteFunc(closeAll(surplus), func(name string) bool { return usedNames[name] })
}
