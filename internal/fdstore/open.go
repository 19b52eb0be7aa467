package fdstore

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/autorestart-go/autorestart/internal/crashlog"
	"github.com/autorestart-go/autorestart/internal/passing"
	"github.com/autorestart-go/autorestart/internal/report"
	"github.com/autorestart-go/autorestart/internal/sys"
)

// A Passed file is a descriptor that systemd has passed, with a name for which [IsName] is true.
type Passed struct {
	Name string
	FD   int
}

// Config has what a Store works with.
type Config struct {
	Sender Sender
	Logger report.Logger
	Limit  int    // descriptors that systemd passes to a start
	Others int    // of these that are not of this package
	Set    string // of a new set, see SetOf

	Network uint64 // of this process, see OwnNetwork
	// Announced are the names in systemd's store that LISTEN_FDNAMES has. The previous image may have taken the files.
	Announced []string
}

// A Log is the two descriptors of the log of a set. Duplicates cross an exec, to [Continue].
type Log [2]*sys.FD

// Kept is what a set has kept. The receiver owns the descriptors.
type Kept struct {
	Files  []passing.KeptFile
	States []passing.KeptState
}

// Recover returns a Store in a start of the program, and what the last one has kept: all of it, or
// nothing, if any of it is missing. It takes over the descriptors that systemd has passed. Sockets of the network
// of the last one are not found if this process is in another one, where they have no clients.
func Recover(c Config, passed []Passed) (*Store, Kept, error) {
	r, err := openNewest(passed)
	if err != nil {
		c.Logger.Warn("files and states from before the crash are lost: what systemd has stored is not complete", "reason", err)
	}
	if r == nil {
		names := closeAll(passed)
		s, err := create(c)
		if err != nil {
			return nil, Kept{}, err
		}
		s.removed = names
		return s, Kept{}, nil
	}
	if left := r.leaveNetwork(c.Network); left > 0 {
		c.Logger.Info("closed the sockets of the process before this one: this one is in another network namespace", "files", left)
	}
	s := newStore(c, r.set, r.log, r.slots)
	s.created = r.created
	kept, err := s.takeOver(r)
	if err != nil {
		closeAll(passed)
		return nil, Kept{}, err
	}
	s.removed = r.closeSurplus(passed)
	s.addLog(true)
	return s, kept, nil
}

// openNewest opens the set that was made last, or returns nil if there is none. An older one is not what
// the program has kept last, even if it is complete.
func openNewest(passed []Passed) (newest *recovered, err error) {
	var problems []error
	for _, set := range setsOf(passed) {
		r, err := open(set, passed)
		if err != nil {
			problems = append(problems, fmt.Errorf("set %s: %w", set, err))
		} else if newest == nil || r.created > newest.created {
			newest = r
		}
	}
	if newest == nil {
		return nil, errors.Join(problems...)
	}
	if err := newest.find(passed); err != nil {
		return nil, fmt.Errorf("set %s: %w", newest.set, err)
	}
	return newest, nil
}

// Continue returns a Store in an image that another one has handed its log to. It takes over the
// descriptors, also those that systemd has passed: they are of no use by now.
func Continue(c Config, slots Log, passed []Passed) (*Store, error) {
	s, err := continueLog(c, slots)
	if err != nil {
		c.Logger.Warn("files and states are stored anew: cannot read what the previous version has stored", "reason", err)
		slots.close()
		return Renew(c, passed)
	}
	s.removeOthers(closeAll(passed))
	return s, nil
}

// Renew returns a Store in an image that was executed by another one, and has no log. It takes over the
// descriptors that systemd has passed, and has systemd remove them, and all that an earlier image may have
// stored in the set or in an announced one: the same files under other names would be dropped.
func Renew(c Config, passed []Passed) (*Store, error) {
	names := closeAll(passed)
	s, err := create(c)
	if err != nil {
		return nil, err
	}
	s.removed = []string{s.logName(0), s.logName(1)}
	for n := range c.Limit {
		s.removed = append(s.removed, fileName(s.set, strconv.Itoa(n)))
	}
	s.removeOthers(append(names, c.Announced...))
	return s, nil
}

// removeOthers has systemd remove the files with these names that s does not have.
func (s *Store) removeOthers(names []string) {
	for _, name := range names {
		if s.files[name] == nil && !s.isLog(name) && !slices.Contains(s.removed, name) {
			s.removed = append(s.removed, name)
		}
	}
}

// Remove has systemd remove the files with these names, as far as it receives that now: where no Store
// can be made, clients must not wait for a listener that nothing serves.
func Remove(sender Sender, names []string) {
	for _, name := range names {
		sender.Send(removeMessage(name))
	}
}

func continueLog(c Config, slots Log) (*Store, error) {
	log, content, err := crashlog.Open(slots.files())
	if err != nil {
		return nil, err
	}
	r, err := parse(log, content)
	if err != nil {
		return nil, err
	}
	s := newStore(c, r.set, log, slots)
	s.created, s.others = r.created, max(s.others, r.others)
	for name, f := range r.files {
		s.known(name, f, -1)
	}
	for _, name := range r.unnamed {
		if s.files[name] == nil {
			s.removed = append(s.removed, name)
		}
	}
	s.addLog(true)
	return s, nil
}

// create returns a Store with a new set.
func create(c Config) (*Store, error) {
	var slots Log
	for i := range slots {
		var err error
		if slots[i], err = newMemory(); err != nil {
			slots.close()
			return nil, fmt.Errorf("cannot create a file in memory: %w", err)
		}
	}
	created := now()
	log, err := crashlog.New(slots.files(), setRecords(c.Set, created, c.Network, c.Others))
	if err != nil {
		slots.close()
		return nil, err
	}
	s := newStore(c, c.Set, log, slots)
	s.created = created
	s.addLog(false)
	return s, nil
}

func newStore(c Config, set string, log *crashlog.Log, slots Log) *Store {
	return &Store{
		sender: c.Sender, logger: c.Logger, limit: c.Limit, others: c.Others,
		set: set, network: c.Network, log: log, slots: slots,
		byName: map[passing.Name]*stored{}, files: map[string]*stored{}, lost: map[passing.Name]bool{},
	}
}

// addLog has the log sent before anything else, unless systemd has it.
func (s *Store) addLog(sent bool) {
	for i, fd := range s.slots {
		own := newStored(s.logName(i), ID{})
		own.names[ofLog], own.fds[ofLog], own.sent = false, fd.Int(), sent
		s.order = slices.Insert(s.order, i, own)
	}
}

func (s *Store) logName(i int) string { return fileName(s.set, logPrefix+strconv.Itoa(i)) }

func (s *Store) isLog(name string) bool { return name == s.logName(0) || name == s.logName(1) }

// known adds a file that systemd has, and this process if fd is not -1.
func (s *Store) known(name passing.Name, f storedFile, fd int) {
	own := s.files[f.name]
	if own == nil {
		own = newStored(f.name, f.id)
		own.sent = true
		s.files[f.name] = own
		s.order = append(s.order, own)
	}
	own.names[name], own.fds[name] = false, fd
	s.byName[name] = own
}

// takeOver returns what r has. All names of one file get descriptors of their own. If it fails, those that
// it has made are closed.
func (s *Store) takeOver(r *recovered) (kept Kept, err error) {
	taken := map[string]bool{}
	var duplicates []*sys.FD
	for name, f := range r.files {
		fd := r.passed[f.name]
		if taken[f.name] {
			another, err := sys.Duplicate(fd)
			if err != nil {
				for _, fd := range duplicates {
					fd.Close()
				}
				return Kept{}, err
			}
			duplicates = append(duplicates, another)
			fd = another.Int()
		}
		taken[f.name] = true
		s.known(name, f, fd)
		kept.Files = append(kept.Files, passing.KeptFile{Name: name, FD: fd})
	}
	slices.SortFunc(kept.Files, func(a, b passing.KeptFile) int { return cmp.Compare(a.Name, b.Name) })
	for _, fd := range duplicates {
		fd.Release()
	}
	for name, value := range r.states {
		kept.States = append(kept.States, passing.KeptState{Name: name, Value: value})
	}
	return kept, nil
}

// closeAll closes passed files, and returns their names.
func closeAll(passed []Passed) (names []string) {
	for _, p := range passed {
		sys.NewFD(p.FD).Close()
		if !slices.Contains(names, p.Name) {
			names = append(names, p.Name)
		}
	}
	return names
}

func (l Log) files() [2]crashlog.File {
	return [2]crashlog.File{crashlog.Descriptor(l[0].Int()), crashlog.Descriptor(l[1].Int())}
}

func (l Log) close() {
	for _, fd := range l {
		if fd != nil {
			fd.Close()
		}
	}
}

// clear empties the log, which needs no memory.
func (l Log) clear() {
	for _, f := range l.files() {
		if d, ok := f.(interface{ Discard(int64) error }); ok {
			d.Discard(0)
		}
	}
}
