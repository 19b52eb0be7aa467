// Package fdstore keeps what crosses an exec in the file descriptor store of systemd, so that the
// program finds it after it has crashed. See FileDescriptorStoreMax in systemd.service(5).
//
// A set is what one program keeps: files, and a log of two memfds (internal/crashlog) with the states, and
// with the name of each file. Only the log is written to when a state is set: systemd has its files
// already.
//
// Systemd passes what it has stored to the next start, by sd_listen_fds(3), with names that this
// package has chosen:
//
//	autorestart.SET.log0
//	autorestart.SET.log1
//	autorestart.SET.N     a file; N is a number
//
// SET is different in each start that finds no set, and the same in all images that follow it by exec. So
// the files of two sets are never mixed, and an image without the log of its set knows the names in it.
//
// Systemd may also have descriptors of others, which the program or its socket units have. They count against the limit,
// and this package neither closes nor removes them.
//
// # Order
//
// The log never names a file that systemd does not have: a file is sent before its name is written, and
// its name is removed before the file is. What systemd has and the log doesn't name is removed by the next
// start. Systemd handles messages in their order, also those of a process that has ended.
//
// Between the two, the log says that systemd may have an unnamed file. After an exec, no other part knows
// of it: systemd passes nothing then.
//
// If the log can't be written, it is emptied, and nothing is found after a crash until the next exec. It
// would contain old states otherwise, and names of files that systemd does not have.
//
// A file is removed from the store before it is closed. Otherwise, the clients of a listener would
// connect to a socket that no process accepts from. A socket that the program has used and closes is an
// exception: the program may be about to end, and the next start needs the socket. It is removed
// after endLimit.
package fdstore

import (
	"cmp"
	"context"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/autorestart-go/autorestart/internal/crashlog"
	"github.com/autorestart-go/autorestart/internal/passing"
	"github.com/autorestart-go/autorestart/internal/report"
)

// A Sender sends messages to systemd. [sdnotify.Socket] is one.
type Sender interface {
	// Send sends one message with duplicates of the descriptors. It never blocks.
	Send(message string, fds ...int) error

	// Barrier waits until systemd has handled all messages.
	Barrier(ctx context.Context) error
}

// A Store is a [passing.Keeper].
type Store struct {
	sender Sender
	logger report.Logger
	limit  int // descriptors that systemd passes to a start
	others int // of these that are not of this package

	mu      sync.Mutex
	set     string
	created int64  // when the set was made
	network uint64 // of this process
	log     *crashlog.Log
	slots   Log                               // of log
	byName  map[passing.Name]*stored          // what the log names, or will
	files   map[string]*stored                // by the name in systemd's store
	order   []*stored                         // of files, in which they are sent
	removed []string                          // names in systemd's store; not sent yet
	gone    bool                              // nothing is kept, see clear
	lost    map[passing.Name]bool             // states that the log could not take; none of them is found
	ending  bool                              // see End
	retry   *time.Timer                       // nil while nothing is tried again
	pause   time.Duration                     // until then
	logged  struct{ full, send, states bool } // a failure that lasts
}

// A stored file is a file that systemd has, or will get.
type stored struct {
	name  string // in systemd's store; "" until it is about to be sent
	id    ID
	names map[passing.Name]bool // under which it crosses; true for one that was dropped, and may be found again
	fds   map[passing.Name]int  // descriptors of this process
	sent  bool

	announced bool // the log says that systemd may have it
}

// Set returns the name of the set.
func (s *Store) Set() string { return s.set }

// Log returns the descriptors of the log. The Store owns them.
func (s *Store) Log() Log { return s.slots }

func newStored(name string, id ID) *stored {
	return &stored{name: name, id: id, names: map[passing.Name]bool{}, fds: map[passing.Name]int{}}
}

// storeMessage returns the message that has systemd store files under a name. Systemd must not drop them by
// itself, as it would a listener that was shut down or a pipe without a reader.
func storeMessage(name string) string { return "FDSTORE=1\nFDPOLL=0\nFDNAME=" + name }

func removeMessage(name string) string { return "FDSTOREREMOVE=1\nFDNAME=" + name }

// Begin implements [passing.Keeper]. Files that systemd has already are not sent again.
func (s *Store) Begin(files []passing.KeptFile, states []passing.KeptState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	named := map[passing.Name]bool{}
	for _, f := range files {
		named[f.Name] = true
	}
	for name, own := range s.byName {
		if !named[name] {
			s.forget(name, own)
		}
	}
	// Files that systemd may have come first: others are compared with them.
	for _, known := range [...]bool{true, false} {
		for _, f := range files {
			if (s.byName[f.Name] != nil) == known {
				s.add(f)
			}
		}
	}
	content := setRecords(s.set, s.created, s.network, s.others)
	for _, st := range states {
		content = append(content, stateRecord(st.Name, st.Value))
	}
	for _, own := range s.order {
		if own.sent {
			content = append(content, own.records()...)
		}
	}
	for _, name := range s.removed {
		content = append(content, unnamedRecord(name))
	}
	if !s.gone {
		if err := s.log.Replace(content); err != nil {
			s.giveUp(err)
		}
	}
	s.sync()
}

// KeepFile implements [passing.Keeper].
func (s *Store) KeepFile(f passing.KeptFile) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.add(f)
	s.sync()
}

// add has the file sent by the next sync, unless systemd has it. It is called with s locked.
func (s *Store) add(f passing.KeptFile) {
	id, err := IDOf(f.FD)
	if s.gone || err != nil {
		return
	}
	if own := s.byName[f.Name]; own != nil {
		if same, _ := own.is(id, f.FD); same {
			own.names[f.Name], own.fds[f.Name] = false, f.FD
			return
		}
		s.drop(f.Name, own)
	}
	own, err := s.find(id, f.FD)
	if err != nil {
		s.logger.Warn("a file is not found after a crash: it may be a duplicate of another one that systemd stores; allow kcmp(2)",
			"file", f.Name.String(), "reason", err)
		return
	}
	if own == nil {
		own = newStored("", id)
		s.order = append(s.order, own)
	}
	own.names[f.Name], own.fds[f.Name] = false, f.FD
	s.byName[f.Name] = own
	if own.sent {
		s.write(fileRecord(f.Name, own))
	}
}

// freeName returns the name with the lowest number that is free, so that all that a set has had are
// known: see [Renew]. Systemd removes the file that had it first.
func (s *Store) freeName() string {
	for n := 0; ; n++ {
		if name := fileName(s.set, strconv.Itoa(n)); s.files[name] == nil {
			return name
		}
	}
}

// find returns the stored file that fd is a duplicate of, or nil. systemd would drop a duplicate silently. find fails if
// the kernel can't compare the two.
func (s *Store) find(id ID, fd int) (*stored, error) {
	var unknown error
	for _, own := range s.order {
		same, err := own.is(id, fd)
		if same {
			return own, nil
		}
		unknown = cmp.Or(unknown, err)
	}
	return nil, unknown
}

// is reports whether fd has the stored file open. Of a file that only systemd has open so far, the ID
// decides. The program may have closed one that was found after a crash.
func (own *stored) is(id ID, fd int) (same bool, err error) {
	if own.id != id {
		return false, nil
	}
	for _, other := range own.fds {
		if other < 0 {
			return true, nil
		}
		if id, err := IDOf(other); err != nil || id != own.id {
			continue
		}
		if same, err = sameDescription(fd, other); same {
			return true, nil
		}
	}
	return len(own.fds) == 0, err // dropped, and systemd has it still
}

// endLimit is how long a program may take to end after it has closed a socket. If it ends later, the next
// start does not find the socket. Meanwhile the clients of the socket wait.
const endLimit = time.Second

// DropFile implements [passing.Keeper].
func (s *Store) DropFile(name passing.Name, atOnce bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	own := s.byName[name]
	switch {
	case own == nil:
	case atOnce || !own.sent:
		s.drop(name, own)
		s.sync()
	default:
		own.names[name] = true
		delete(own.fds, name)
		time.AfterFunc(endLimit, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			if !s.ending && s.byName[name] == own && own.names[name] {
				s.drop(name, own)
				s.sync()
			}
		})
	}
}

// End says that the program is about to end: the next start finds the sockets that the program closes
// from now on, also if it ends later than after endLimit.
func (s *Store) End() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ending = true
}

// dropAll drops the files that may be found again. It is called with s locked.
func (s *Store) dropAll() {
	if s.ending {
		return
	}
	for name, own := range s.byName {
		if own.names[name] {
			s.drop(name, own)
		}
	}
}

// drop has the file removed by the next sync, unless it has another name. It is called with s locked.
func (s *Store) drop(name passing.Name, own *stored) {
	if own.sent {
		changes := []crashlog.Change{{Name: filePrefix + string(name)}}
		if len(own.names) == 1 {
			changes = append(changes, unnamedRecord(own.name))
		}
		s.write(changes...)
	}
	s.forget(name, own)
}

// forget is drop while the log is about to be replaced.
func (s *Store) forget(name passing.Name, own *stored) {
	delete(s.byName, name)
	delete(own.names, name)
	delete(own.fds, name)
	if len(own.names) > 0 {
		return
	}
	delete(s.files, own.name)
	for i, other := range s.order {
		if other == own {
			s.order = append(s.order[:i:i], s.order[i+1:]...)
			break
		}
	}
	if own.sent && !s.gone {
		s.removed = append(s.removed, own.name)
	}
}

// KeepState implements [passing.Keeper].
func (s *Store) KeepState(st passing.KeptState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone {
		return
	}
	err := s.log.Write(stateRecord(st.Name, st.Value))
	if err == nil {
		delete(s.lost, st.Name)
		s.logged.states = s.logged.states && len(s.lost) > 0
		return
	}
	s.lost[passing.Name(strings.Clone(string(st.Name)))] = true
	s.write(crashlog.Change{Name: statePrefix + string(st.Name)}) // none is better than an old one
	if s.gone {
		s.sync()
	}
	if s.statesFail() {
		s.logger.Warn("a state is not found after a crash: cannot write it; raise MemoryMax, or set a shorter one",
			"state", st.Name.String(), "bytes", len(st.Value), "reason", err)
	}
}

// write writes short records.
func (s *Store) write(changes ...crashlog.Change) {
	if s.gone {
		return
	}
	if err := s.log.Write(changes...); err != nil {
		s.giveUp(err)
	}
}

// statesFail reports whether a failure to write is the first one since all states could be written.
func (s *Store) statesFail() (first bool) {
	first = !s.logged.states
	s.logged.states = true
	return first
}
