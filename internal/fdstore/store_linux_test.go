//go:build !autorestart_portable

package fdstore

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/crashlog"
	"github.com/autorestart-go/autorestart/internal/passing"
	"github.com/autorestart-go/autorestart/internal/sys"
)

func file(i, fd int) passing.KeptFile { return passing.KeptFile{Name: name(i), FD: fd} }

func state(name, value string) passing.KeptState {
	return passing.KeptState{Name: passing.Name(name), Value: []byte(value)}
}

// wantKept checks what a crash at this moment leaves to the next start.
func (m *manager) wantKept(want string, fds ...int) {
	m.t.Helper()
	s, kept := m.recover()
	if got := describeAll(kept, fds...); got != want {
		m.t.Errorf("found %q, want %q", got, want)
	}
	end(s, kept.Files...)
}

// exec returns the store of the next image, which has the log, and nothing of the old one in memory.
func (m *manager) exec(s *Store) *Store {
	m.t.Helper()
	var log Log
	for i, fd := range s.slots {
		log[i] = sys.NewFD(duplicate(m.t, fd.Int()))
	}
	end(s)
	next, err := Continue(m.config(), log, nil)
	if err != nil {
		m.t.Fatal(err)
	}
	m.watchLog(next)
	return next
}

// TestOrder: a file is sent before its name is written, and its name is removed before the file is.
func TestOrder(t *testing.T) {
	m := newManager(t)
	s, _ := m.recover()
	a, b := socket(t), socket(t)
	s.Begin([]passing.KeptFile{file(0, a)}, nil)
	s.KeepFile(file(1, b))
	s.DropFile(name(0), true)
	s.DropFile(name(0), true)
	s.KeepFile(file(1, a)) // in place of b
	var parts []string
	for _, name := range m.sent {
		_, part, _ := parseName(name[1:])
		parts = append(parts, name[:1]+part)
	}
	if want := []string{"+log0", "+log1", "+0", "+1", "-0", "-1", "+0"}; !slices.Equal(parts, want) {
		t.Errorf("sent %q, want %q", parts, want)
	}
	end(s)
	m.wantKept("file 1=0", a, b)
	m.logs.want(t)
}

// TestNumbersBelowLimit: files that waited for room get the lowest number that is free then, so that an image that can't
// read the log has all of them removed.
func TestNumbersBelowLimit(t *testing.T) {
	m := newManager(t)
	m.max = 4 // two files of the log, and two others
	s, _ := m.recover()
	var files []passing.KeptFile
	for i := range 6 {
		files = append(files, file(i, socket(t)))
	}
	s.Begin(files, nil)
	for i := range files {
		for _, stored := range m.names() {
			if number, err := strconv.Atoi(stored); err == nil && number >= m.max {
				t.Errorf("with %d files less: systemd stores %s", i, stored)
			}
		}
		s.DropFile(files[i].Name, true)
	}
	m.want("log0", "log1")
}

// TestLimit: what is above the limit is not found, and is sent when there is room again.
func TestLimit(t *testing.T) {
	m := newManager(t)
	m.max = 4
	s, _ := m.recover()
	fds := []int{socket(t), socket(t), socket(t), socket(t)}
	s.Begin([]passing.KeptFile{file(0, fds[0]), file(1, fds[1]), file(2, fds[2])}, nil)
	s.KeepFile(file(3, fds[3]))
	m.logs.want(t, "raise FileDescriptorStoreMax, or LimitNOFILElimit4needed5")
	m.wantKept("file 0=0, file 1=1", fds...)
	s.DropFile(name(0), true)
	m.wantKept("file 1=1, file 2=2", fds...)
	m.logs.want(t)
	s.DropFile(name(1), true)
	m.wantKept("file 2=2, file 3=3", fds...)
	s.KeepFile(file(0, fds[0]))
	m.logs.want(t, "raise FileDescriptorStoreMax") // again
	end(s)
	m.max = 1 // not even the log
	s, _, err := Recover(m.config(), nil)
	if err != nil {
		t.Fatal(err)
	}
	s.Begin(nil, nil)
	m.logs.want(t, "raise FileDescriptorStoreMax")
	end(s)
}

// TestBusyManager: what there is no room for is sent later, in order.
func TestBusyManager(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t)
		s, _ := m.recover()
		fds := []int{socket(t), socket(t), socket(t)}
		s.Begin([]passing.KeptFile{file(0, fds[0])}, []passing.KeptState{state("a", "1")})
		m.busy, m.room = true, 2
		s.KeepFile(file(1, fds[1]))
		s.DropFile(name(0), true)
		s.KeepFile(file(2, fds[2]))
		s.KeepState(state("a", "2"))
		m.setBusy(false)
		// The next attempt is in 10 ms.
		testSleep(s)
		m.want("0", "1", "log0", "log1")
		m.wantKept("a:2, file 1=1, file 2=2", fds...)
		m.logs.want(t)
		end(s)
	})
}

// testSleep lets the timer of s expire, in a bubble.
func testSleep(s *Store) {
	for {
		s.mu.Lock()
		waits := s.retry != nil
		s.mu.Unlock()
		if !waits {
			return
		}
		time.Sleep(lastRetry)
	}
}

// TestManagerThatHangs: one line says so, and there is one attempt a second.
func TestManagerThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t)
		s, _ := m.recover()
		m.busy, m.room = true, 0
		var attempts atomic.Int32
		m.onEvent = func() { attempts.Add(1) }
		s.Begin(nil, nil)
		time.Sleep(100 * lastRetry)
		if n := attempts.Load(); n > 110 {
			t.Errorf("%d attempts in 100 s", n)
		}
		m.logs.want(t, "systemd does not receive the messages")
		m.setBusy(false)
		testSleep(s)
		m.want("log0", "log1")
		end(s)
	})
}

// TestNoReceiver: what was not sent is sent with the next change.
func TestNoReceiver(t *testing.T) {
	m := newManager(t)
	s, _ := m.recover()
	m.failure = syscall.ECONNREFUSED
	a := socket(t)
	s.Begin([]passing.KeptFile{file(0, a)}, nil)
	s.KeepState(state("a", "1"))
	s.DropFile("unknown", true)
	m.logs.want(t, "systemd does not receive the messages of this program")
	if err := s.Flush(t.Context()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("flushed: %v", err)
	}
	m.failure = nil
	s.KeepFile(file(1, a))
	m.wantKept("a:1, file 0=0, file 1=0", a)
	end(s)
}

// TestFlush: when it returns, systemd has closed what was dropped, also if it was busy before.
func TestFlush(t *testing.T) {
	m := newManager(t)
	s, _ := m.recover()
	var files []passing.KeptFile
	for i := range 5 {
		files = append(files, file(i, socket(t)))
	}
	s.Begin(files, nil)
	m.busy, m.room = true, 1
	for i := range 5 {
		s.DropFile(name(i), true)
	}
	if err := s.Flush(t.Context()); err != nil {
		t.Error(err)
	}
	m.want("log0", "log1")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Flush(ctx); err != context.Canceled {
		t.Error(err)
	}
	end(s)
}

// TestContinue: files that systemd has are not sent again. What an image has changed that has no store, or
// what a rollback has undone, is stored.
func TestContinue(t *testing.T) {
	m := newManager(t)
	s, _ := m.recover()
	fds := []int{socket(t), socket(t), socket(t), socket(t)}
	old := []passing.KeptFile{file(0, fds[0]), file(1, fds[1])}
	s.Begin(old, []passing.KeptState{state("a", "1")})
	s = m.exec(s)
	m.sent = nil
	changed := []passing.KeptFile{file(0, fds[0]), file(1, fds[2]), file(2, fds[3]), file(3, fds[0])}
	s.Begin(changed, []passing.KeptState{state("b", "2")})
	m.want("0", "1", "2", "log0", "log1")
	m.wantKept("b:2, file 0=0, file 1=2, file 2=3, file 3=0", fds...)
	for _, sent := range m.sent {
		if sent[0] == '+' && strings.HasSuffix(sent, ".0") {
			t.Errorf("sent %q, which systemd has", m.sent)
		}
	}
	s = m.exec(s)
	s.Begin(old, []passing.KeptState{state("a", "1")})
	m.want("0", "1", "log0", "log1")
	m.wantKept("a:1, file 0=0, file 1=1", fds...)
	m.logs.want(t)
	end(s)
}

// TestPipeAfterExec: the ends of a pipe have the same inode.
func TestPipeAfterExec(t *testing.T) {
	m := newManager(t)
	s, _ := m.recover()
	r, w := pipe(t)
	s.Begin([]passing.KeptFile{file(0, r)}, nil)
	s = m.exec(s)
	s.Begin([]passing.KeptFile{file(1, w), file(0, r)}, nil)
	m.wantKept("file 0=0, file 1=1", r, w)
	s = m.exec(s)
	s.Begin([]passing.KeptFile{file(0, w)}, nil)
	m.wantKept("file 0=1", r, w)
	end(s)
}

// TestReopenedFile: the files of a name are different descriptions of one file.
func TestReopenedFile(t *testing.T) {
	m := newManager(t)
	s, _ := m.recover()
	var fds []int
	for range 3 {
		fd, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(fd) })
		fds = append(fds, fd)
	}
	s.Begin([]passing.KeptFile{file(0, fds[0]), file(1, fds[1])}, nil)
	m.wantKept("file 0=0, file 1=1", fds...)
	s.KeepFile(file(0, fds[2])) // in its place
	m.wantKept("file 0=2, file 1=1", fds...)
	end(s)
}

// TestExecWhileManagerIsBusy: what the previous image could not send any more does not stay, and nothing is
// dropped silently because it has another name already.
func TestExecWhileManagerIsBusy(t *testing.T) {
	for _, event := range []string{"file not sent", "removal not sent", "record not written"} {
		t.Run(event, func(t *testing.T) {
			m := newManager(t)
			s, _ := m.recover()
			a, b := socket(t), socket(t)
			s.Begin([]passing.KeptFile{file(0, a)}, nil)
			m.busy, m.room = true, 0
			switch event {
			case "file not sent":
				s.KeepFile(file(1, b))
			case "removal not sent":
				s.DropFile(name(0), true)
			case "record not written":
				m.busy = false
				m.onEvent = func() {
					if len(m.stored) > 3 {
						panic("exec")
					}
				}
				func() {
					defer func() { recover() }()
					s.KeepFile(file(1, b))
				}()
				m.onEvent = func() {}
			}
			m.setBusy(false)
			s = m.exec(s)
			s.Begin([]passing.KeptFile{file(2, socket(t)), file(0, a), file(1, b)}, nil)
			if len(m.stored) != 5 {
				t.Errorf("stored are %q, want the log and 3 files", m.names())
			}
			s.DropFile(name(2), true)
			m.wantKept("file 0=0, file 1=1", a, b)
			m.logs.want(t)
			end(s)
		})
	}
}

// full is a file of the log that has no room for more than a number of bytes.
type full struct {
	crashlog.Descriptor
	room *int
}

func (f full) WriteAt(b []byte, offset int64) (int, error) {
	if len(b) > *f.room {
		return 0, syscall.ENOSPC
	}
	return f.Descriptor.WriteAt(b, offset)
}

// TestFullMemory: a value that can't be written is not found, and neither is the one before. Without room for
// that either, nothing is found.
func TestFullMemory(t *testing.T) {
	for _, test := range []struct {
		room   int
		change func(s *Store)
		want   string
		log    string
	}{
		{1000, func(s *Store) { s.KeepState(state("a", string(make([]byte, 2000)))) }, "b:1, file 0=0", "raise MemoryMax"},
		{0, func(s *Store) { s.KeepState(state("a", "2")) }, "", "cannot write the list"},
		{0, func(s *Store) { s.KeepState(passing.KeptState{Name: "a"}) }, "", "cannot write the list"},
		{0, func(s *Store) { s.DropFile(name(0), true) }, "", "cannot write the list"},
		{0, func(s *Store) { s.Begin([]passing.KeptFile{file(0, s.byName[name(0)].descriptor())}, nil) }, "", "cannot write the list"},
	} {
		m := newManager(t)
		s, _ := m.recover()
		a, room := socket(t), test.room
		s.Begin([]passing.KeptFile{file(0, a)}, []passing.KeptState{state("a", "1"), state("b", "1")})
		log, _, err := crashlog.Open([2]crashlog.File{full{crashlog.Descriptor(s.slots[0].Int()), &room}, full{crashlog.Descriptor(s.slots[1].Int()), &room}})
		if err != nil {
			t.Fatal(err)
		}
		s.log = log
		test.change(s)
		m.logs.want(t, test.log)
		m.wantKept(test.want, a)
		m.logs.lines = nil
		s = m.exec(s) // has room
		s.Begin([]passing.KeptFile{file(0, a)}, []passing.KeptState{state("a", "3")})
		if test.want == "" {
			m.logs.want(t, "stored anew")
		}
		m.wantKept("a:3, file 0=0", a)
		m.logs.want(t)
		end(s)
	}
}
