//go:build !autorestart_portable

package fdstore

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/autorestart-go/autorestart/internal/passing"
)

// TestClosedSocket: a socket that the program has used and closes is found by the next start for a second, and not after
// that. What else happens in this second is taken into account.
func TestClosedSocket(t *testing.T) {
	const both = "file 0=0, file 1=1"
	for what, test := range map[string]struct {
		event  func(m *manager, s *Store, fd int) // right after the close
		now    string                             // what a start finds after the event
		before string                             // right before the second is over
		after  string
	}{
		"nothing":        {func(*manager, *Store, int) {}, both, both, "file 1=1"},
		"end":            {func(_ *manager, s *Store, _ int) { s.End() }, both, both, both},
		"flush":          {func(m *manager, s *Store, _ int) { s.Flush(m.t.Context()) }, "file 1=1", "file 1=1", "file 1=1"},
		"end, flush":     {func(m *manager, s *Store, _ int) { s.End(); s.Flush(m.t.Context()) }, both, both, both},
		"dropped":        {func(_ *manager, s *Store, _ int) { s.DropFile(name(0), true) }, "file 1=1", "file 1=1", "file 1=1"},
		"closed again":   {func(_ *manager, s *Store, _ int) { s.DropFile(name(0), false) }, both, both, "file 1=1"},
		"opened again":   {func(_ *manager, s *Store, fd int) { s.KeepFile(file(0, fd)) }, both, both, both},
		"another one":    {func(m *manager, s *Store, _ int) { s.KeepFile(file(0, socket(m.t))) }, "file 0=-1, file 1=1", "file 0=-1, file 1=1", "file 0=-1, file 1=1"},
		"another name":   {func(_ *manager, s *Store, fd int) { s.KeepFile(file(2, fd)) }, both + ", file 2=0", both + ", file 2=0", "file 1=1, file 2=0"},
		"the other, too": {func(_ *manager, s *Store, _ int) { s.DropFile(name(1), false) }, both, both, ""},
		"given up":       {func(_ *manager, s *Store, _ int) { s.GiveUp(errors.ErrUnsupported) }, "", "", ""},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newManager(t)
				s, _ := m.recover()
				fds := []int{socket(t), socket(t)}
				s.Begin([]passing.KeptFile{file(0, fds[0]), file(1, fds[1])}, nil)
				s.DropFile(name(0), false)
				test.event(m, s, fds[0])
				for _, step := range []struct {
					pause time.Duration
					want  string
				}{{0, test.now}, {endLimit - time.Nanosecond, test.before}, {time.Nanosecond, test.after}, {time.Hour, test.after}} {
					time.Sleep(step.pause)
					synctest.Wait()
					m.wantKept(step.want, fds...)
				}
				end(s)
			})
		})
	}
}

// TestSocketClosedBeforeExec: the next image doesn't have the socket, and has it removed at once.
func TestSocketClosedBeforeExec(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t)
		s, _ := m.recover()
		a, b := socket(t), socket(t)
		s.Begin([]passing.KeptFile{file(0, a), file(1, b)}, nil)
		s.DropFile(name(0), false)
		next := m.exec(s)
		next.Begin([]passing.KeptFile{file(1, b)}, nil)
		m.wantKept("file 1=1", a, b)
		end(next)
	})
}

// TestUnsentSocketIsClosed: systemd does not get a socket that the program has closed before there was room for it.
func TestUnsentSocketIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t)
		s, _ := m.recover()
		s.Begin(nil, nil)
		m.busy, m.room = true, 0
		s.KeepFile(file(0, socket(t)))
		s.DropFile(name(0), false)
		m.setBusy(false)
		testSleep(s)
		m.want("log0", "log1")
		m.wantKept("")
		m.logs.want(t)
		end(s)
	})
}

// TestDropWhileEnding: what the program drops at once is dropped while it ends, too.
func TestDropWhileEnding(t *testing.T) {
	m := newManager(t)
	s, _ := m.recover()
	fds := []int{socket(t), socket(t)}
	s.Begin([]passing.KeptFile{file(0, fds[0]), file(1, fds[1])}, []passing.KeptState{state("a", "1")})
	s.End()
	s.DropFile(name(0), true)
	s.DropFile(name(1), false)
	s.KeepState(state("a", "2"))
	m.wantKept("a:2, file 1=1", fds...)
	end(s)
}
