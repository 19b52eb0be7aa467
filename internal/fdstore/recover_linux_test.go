//go:build !autorestart_portable

package fdstore

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/passing"
	"github.com/autorestart-go/autorestart/internal/sys"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

func TestMain(m *testing.M) { testprocess.Main(m) }

// filesAndStates has a manager store two files, one of them under two names, and two states.
func filesAndStates(t *testing.T) (m *manager, fds [2]int) {
	m = newManager(t)
	s, kept := m.recover()
	if len(kept.Files)+len(kept.States) > 0 {
		t.Fatalf("found %v", kept)
	}
	fds = [2]int{socket(t), socket(t)}
	s.Begin([]passing.KeptFile{{Name: name(0), FD: fds[0]}}, []passing.KeptState{{Name: "a", Value: []byte("1")}})
	s.KeepFile(passing.KeptFile{Name: name(1), FD: fds[1]})
	s.KeepFile(passing.KeptFile{Name: name(2), FD: fds[1]})
	s.KeepState(passing.KeptState{Name: "a", Value: []byte("2")})
	s.KeepState(passing.KeptState{Name: "b", Value: []byte{}})
	end(s)
	m.want("0", "1", "log0", "log1")
	m.logs.want(t)
	return m, fds
}

// describe returns what was kept as text, where each file has the number of its descriptor in fds.
func describe(kept passing.KeptFile, fds []int) string {
	return fmt.Sprintf("%s=%d", kept.Name, slices.IndexFunc(fds, func(fd int) bool { return sameFile(fd, kept.FD) }))
}

func describeAll(kept Kept, fds ...int) string {
	var all []string
	for _, f := range kept.Files {
		all = append(all, describe(f, fds))
	}
	for _, st := range kept.States {
		all = append(all, fmt.Sprintf("%s:%s", st.Name, st.Value))
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

const everything = "a:2, b:, file 0=0, file 1=1, file 2=1"

// TestRecover: all that was kept is found, or nothing. The store of systemd has nothing then that the
// program does not know, and no descriptor is left.
func TestRecover(t *testing.T) {
	another := func(t *testing.T, p *Passed) {
		if err := unix.Dup3(socket(t), p.FD, unix.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
	}
	damage := func(t *testing.T, p *Passed) {
		if _, err := unix.Pwrite(p.FD, make([]byte, 100), 0); err != nil {
			t.Fatal(err)
		}
	}
	for what, test := range map[string]struct {
		change func(t *testing.T, m *manager)
		log    string // reason of the loss; none if everything is found
	}{
		"nothing happened":   {func(*testing.T, *manager) {}, ""},
		"log missing":        {func(t *testing.T, m *manager) { m.remove("log1") }, "found no file autorestart."},
		"file missing":       {func(t *testing.T, m *manager) { m.remove("0") }, "0 that is file 0"},
		"another file":       {func(t *testing.T, m *manager) { another(t, m.find("1")) }, "1 that is file "},
		"log is another":     {func(t *testing.T, m *manager) { another(t, m.find("log0")); another(t, m.find("log1")) }, ""},
		"log damaged":        {func(t *testing.T, m *manager) { damage(t, m.find("log0")); damage(t, m.find("log1")) }, "crash log, slot"},
		"surplus":            {func(t *testing.T, m *manager) { m.add(m.set()+".7", socket(t)) }, ""},
		"duplicate name":     {func(t *testing.T, m *manager) { m.add(m.set()+".0", socket(t)) }, ""},
		"incomplete new set": {func(t *testing.T, m *manager) { m.add("autorestart.zzzzzzzzzzzz.log0", socket(t)) }, ""},
		"incomplete old set": {func(t *testing.T, m *manager) { m.add("autorestart.1.5", socket(t)) }, ""},
		"hostile names": {func(t *testing.T, m *manager) {
			m.add("autorestart.-1y2p0ij32e8e7.log0", socket(t)) // the lowest number
			m.add("autorestart.1y2p0ij32e8e7.log0", socket(t))  // the highest
		}, ""},
	} {
		t.Run(what, func(t *testing.T) {
			m, fds := filesAndStates(t)
			test.change(t, m)
			if what == "log is another" {
				test.log = "pread"
			}
			before := descriptors(t) - len(m.stored)
			s, kept := m.recover()
			want := everything
			if test.log != "" {
				want = ""
				m.logs.want(t, test.log)
			} else {
				m.logs.want(t)
			}
			if got := describeAll(kept, fds[:]...); got != want {
				t.Errorf("found %q, want %q", got, want)
			}
			s.Begin(kept.Files, kept.States)
			switch {
			case test.log != "":
				m.want("log0", "log1")
			case what == "duplicate name": // stays as long as the file is kept
				m.want("0", "0", "1", "log0", "log1")
			default:
				m.want("0", "1", "log0", "log1")
			}
			end(s, kept.Files...)
			if after := descriptors(t) - len(m.stored); after != before {
				t.Errorf("%d descriptors, before there were %d", after, before)
			}
			s, kept = m.recover()
			if got := describeAll(kept, fds[:]...); got != want {
				t.Errorf("after another crash: found %q, want %q", got, want)
			}
			end(s, kept.Files...)
		})
	}
}

// remove is a message of another part of the program, or of an administrator.
func (m *manager) remove(part string) {
	p := *m.find(part)
	unix.Close(p.FD)
	m.stored = slices.DeleteFunc(m.stored, func(o Passed) bool { return o == p })
}

// add puts a descriptor before all others.
func (m *manager) add(name string, fd int) {
	m.stored = slices.Insert(m.stored, 0, Passed{name, duplicate(m.t, fd)})
}

// set returns the beginning of the names.
func (m *manager) set() string {
	name := m.find("log0").Name
	return name[:strings.LastIndex(name, ".")]
}

// TestTwoWholeSets: the new one counts, and the old one is removed. If a file of the new one is missing, as
// one that systemd has in the old one already, nothing is found.
func TestTwoWholeSets(t *testing.T) {
	for _, whole := range []bool{true, false} {
		t.Run(fmt.Sprint(whole), func(t *testing.T) { twoSets(t, whole) })
	}
}

func twoSets(t *testing.T, whole bool) {
	m, fds := filesAndStates(t)
	old := m.stored
	m.stored = nil
	s, _ := m.recover()
	s.Begin([]passing.KeptFile{{Name: "new", FD: fds[0]}}, nil)
	end(s)
	want, parts, logs := "new=0", []string{"0", "log0", "log1"}, []string(nil)
	if !whole {
		m.remove("0")
		want, parts, logs = "", parts[1:], []string{"found no file"}
	}
	m.stored = append(old, m.stored...)
	s, kept := m.recover()
	if got := describeAll(kept, fds[:]...); got != want {
		t.Errorf("found %q, want %q", got, want)
	}
	s.Begin(kept.Files, kept.States)
	m.want(parts...)
	m.logs.want(t, logs...)
	end(s, kept.Files...)
}

// TestRenew: an image whose previous one has lost the log of the set stores the same files. Without a removal
// of those that systemd has, it would drop them, and nothing would be found.
func TestRenew(t *testing.T) {
	m := newManager(t)
	c := m.config()
	s, kept, err := Recover(c, nil)
	if err != nil || len(kept.Files) > 0 {
		t.Fatal(err)
	}
	fds := []int{socket(t), socket(t)}
	s.Begin([]passing.KeptFile{{Name: name(0), FD: fds[0]}, {Name: name(1), FD: fds[1]}}, nil)
	end(s)
	s, err = Renew(c, nil)
	if err != nil {
		t.Fatal(err)
	}
	s.Begin([]passing.KeptFile{{Name: name(1), FD: fds[1]}}, []passing.KeptState{{Name: "a", Value: []byte("1")}})
	end(s)
	m.want("0", "log0", "log1")
	s, kept = m.recover()
	if got := describeAll(kept, fds...); got != "a:1, file 1=1" {
		t.Errorf("found %q", got)
	}
	m.logs.want(t)
	end(s, kept.Files...)
}

// TestRenewAfterForeignVersion: a version without package systemd has taken a file that systemd had stored in an earlier
// start. It executes an image that stores the same file in a set of its own.
func TestRenewAfterForeignVersion(t *testing.T) {
	m, fds := filesAndStates(t)
	var passed []Passed
	c := m.config()
	for _, p := range m.passed() {
		c.Announced = append(c.Announced, p.Name)
		if strings.Contains(p.Name, ".log") {
			passed = append(passed, p)
		} else {
			unix.Close(p.FD)
		}
	}
	s, err := Renew(c, passed)
	if err != nil {
		t.Fatal(err)
	}
	s.Begin([]passing.KeptFile{{Name: name(0), FD: fds[1]}}, nil)
	end(s)
	m.want("0", "log0", "log1")
	m.wantKept("file 0=0", fds[1])
	m.logs.want(t)
}

// TestContinueWithDamagedLog: an image that can't read the log has all files of the set removed, and stores its own
// anew.
func TestContinueWithDamagedLog(t *testing.T) {
	m, fds := filesAndStates(t)
	c := m.config()
	c.Set, _, _ = parseName(m.find("log0").Name)
	var log Log
	for i := range log {
		fd := m.find(fmt.Sprint("log", i)).FD
		if _, err := unix.Pwrite(fd, make([]byte, 100), 0); err != nil {
			t.Fatal(err)
		}
		log[i] = sys.NewFD(duplicate(t, fd))
	}
	before := descriptors(t)
	s, err := Continue(c, log, nil)
	if err != nil {
		t.Fatal(err)
	}
	m.logs.want(t, "files and states are stored anew")
	s.Begin([]passing.KeptFile{{Name: name(0), FD: fds[1]}}, []passing.KeptState{{Name: "a", Value: []byte("3")}})
	m.want("0", "log0", "log1")
	if after := descriptors(t); after != before-1 { // a file of the manager is gone
		t.Errorf("%d descriptors, before there were %d", after, before)
	}
	end(s)
	m.wantKept("a:3, file 0=0", fds[1])
	m.logs.want(t)
}

// TestSetOf: all images of a start have the same set.
func TestSetOf(t *testing.T) {
	const id = "4943371f57ef4c199155ceb9d485784b"
	set := SetOf(id, time.Unix(1, 0))
	if !isSet(set) || set != SetOf(id, time.Unix(2, 0)) || set == SetOf("f"+id[1:], time.Unix(1, 0)) {
		t.Errorf("set %q", set)
	}
	for _, id := range []string{"", "-1", "x943371f57ef4c19", "4"} {
		if set := SetOf(id, time.Unix(1, 0)); !isSet(set) {
			t.Errorf("%q: set %q", id, set)
		}
	}
}

// TestNamesInStore: the names that a store gives are its own, and no others are.
func TestNamesInStore(t *testing.T) {
	for name, want := range map[string]bool{
		"autorestart.3x5k.0": true, "autorestart.3x5k.log0": true, "autorestart.3x5k.123456": true,
		"": false, "stored": false, "autorestart": false, "autorestart.3x5k": false, "autorestart..0": false,
		"autorestart.3X5K.0": false, "autorestart.3x5k.": false, "autorestart.3x5k.x": false, "autorestart.3x5k.-1": false,
		"autorestart.3x5k.99999999999": false, "autorestart.03x5k.0": false, "my.autorestart.3x5k.0": false, "http": false,
	} {
		if IsName(name) != want {
			t.Errorf("%q: %v", name, !want)
		}
	}
	if id, ok := parseID((ID{Dev: 1 << 63, Ino: 7}).String()); !ok || id != (ID{Dev: 1 << 63, Ino: 7}) {
		t.Errorf("%v, %v", id, ok)
	}
}

// TestEndsOfPipe: both have the same inode, and neither is restored in place of the other.
func TestEndsOfPipe(t *testing.T) {
	m := newManager(t)
	s, _ := m.recover()
	r, w := pipe(t)
	s.Begin(nil, nil)
	s.KeepFile(passing.KeptFile{Name: name(0), FD: r})
	s.KeepFile(passing.KeptFile{Name: name(1), FD: w})
	end(s)
	a, b := m.find("0"), m.find("1")
	for _, want := range []string{"", "file 0=0, file 1=1"} {
		a.Name, b.Name = b.Name, a.Name
		s, kept := m.recover() // nothing is removed before Begin
		if got := describeAll(kept, r, w); got != want {
			t.Errorf("found %q, want %q", got, want)
		}
		end(s, kept.Files...)
	}
}

// In another network namespace, sockets of the one before are not found, but for paths of Unix sockets. A socket that
// was opened in a third one is found.
func TestRecoverInAnotherNetwork(t *testing.T) {
	own := OwnNetwork()
	if own == 0 {
		t.Fatal("the network namespace has no number")
	}
	listen := func(network, address string) int {
		l, err := net.Listen(network, address)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		f, err := l.(interface{ File() (*os.File, error) }).File()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return int(f.Fd())
	}
	r, _ := pipe(t)
	fds := []int{
		listen("tcp", "127.0.0.1:0"), listen("unix", "@"+t.Name()), listen("unix", filepath.Join(t.TempDir(), "socket")), r,
	}
	const everything, elsewhere = "file 0=0, file 1=1, file 2=2, file 3=3, s:1", "file 2=2, file 3=3, s:1"
	for what, test := range map[string]struct {
		before, now uint64
		want        string
	}{
		"same":           {own, own, everything},
		"another":        {own, own + 1, elsewhere},
		"third":          {own + 1, own + 2, everything},
		"unknown before": {0, own, everything},
		"unknown now":    {own, 0, everything},
	} {
		t.Run(what, func(t *testing.T) {
			m := newManager(t)
			start := func(network uint64) (*Store, Kept) {
				c := m.config()
				c.Network = network
				s, kept, err := Recover(c, m.passed())
				if err != nil {
					t.Fatal(err)
				}
				return s, kept
			}
			s, _ := start(test.before)
			var files []passing.KeptFile
			for i, fd := range fds {
				files = append(files, file(i, fd))
			}
			s.Begin(files, []passing.KeptState{state("s", "1")})
			end(s)
			for range 2 { // and after another crash
				s, kept := start(test.now)
				if got := describeAll(kept, fds...); got != test.want {
					t.Errorf("found %q, expected %q", got, test.want)
				}
				s.Begin(kept.Files, kept.States)
				if want := 2 + len(kept.Files); len(m.names()) != want {
					t.Errorf("systemd has %q, expected %d", m.names(), want)
				}
				end(s, kept.Files...)
			}
			m.logs.want(t)
		})
	}
}

// TestStateNames: no name of a state is taken for another record.
func TestStateNames(t *testing.T) {
	m := newManager(t)
	s, _ := m.recover()
	var states []passing.KeptState
	var want []string
	for _, name := range []string{"", "a", "et", "reated", "thers", "f", "u", "created", "set"} {
		states = append(states, state(name, "x"))
		want = append(want, name+":x")
	}
	s.Begin(nil, states[:4])
	for _, st := range states[4:] {
		s.KeepState(st)
	}
	end(s)
	slices.Sort(want)
	m.wantKept(strings.Join(want, ", "))
	m.logs.want(t)
}
