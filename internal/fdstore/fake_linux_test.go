//go:build !autorestart_portable

package fdstore

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/crashlog"
	"github.com/autorestart-go/autorestart/internal/passing"
	"github.com/autorestart-go/autorestart/internal/sdnotify"
	"github.com/autorestart-go/autorestart/internal/sys"
)

// A manager is the store of systemd, as a Sender: what systemd 257 does with the messages.
type manager struct {
	t   testing.TB
	max int // FileDescriptorStoreMax

	starts int

	mu      sync.Mutex
	stored  []Passed
	sent    []string // FDNAMEs, with + or - before them
	waiting []message
	room    int    // messages that wait before one is handled
	busy    bool   // no message is handled
	failure error  // of Send
	onEvent func() // called before each message and each write to the log
	logs    testLog
}

type message struct {
	store bool
	name  string
	fd    int
}

func newManager(t testing.TB) *manager {
	m := &manager{t: t, max: 100, room: 10, onEvent: func() {}}
	t.Cleanup(func() {
		m.busy = false
		m.handle()
		for _, p := range m.stored {
			unix.Close(p.FD)
		}
	})
	return m
}

// Send implements Sender.
func (m *manager) Send(text string, fds ...int) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.onEvent()
	if m.failure != nil {
		return m.failure
	}
	if m.busy && len(m.waiting) >= m.room {
		return &os.PathError{Op: "notify", Path: "test", Err: sdnotify.ErrFull}
	}
	lines := strings.Split(text, "\n")
	next := message{name: strings.TrimPrefix(lines[len(lines)-1], "FDNAME="), fd: -1}
	switch {
	case len(lines) == 3 && lines[0] == "FDSTORE=1" && lines[1] == "FDPOLL=0" && len(fds) == 1:
		next.store, next.fd = true, duplicate(m.t, fds[0])
	case len(lines) == 2 && lines[0] == "FDSTOREREMOVE=1" && len(fds) == 0:
	default:
		m.t.Errorf("sent %q with %d descriptors", text, len(fds))
	}
	if len(next.name) == 0 || len(next.name) > 255 || strings.Contains(next.name, ":") {
		m.t.Errorf("sent the name %q", next.name)
	}
	m.waiting = append(m.waiting, next)
	m.handle()
	return nil
}

// handle handles what waits, unless the manager is busy.
func (m *manager) handle() {
	for ; len(m.waiting) > 0 && !m.busy; m.waiting = m.waiting[1:] {
		next := m.waiting[0]
		same := func(p Passed) bool { return sameFile(p.FD, next.fd) }
		switch {
		case !next.store:
			m.sent = append(m.sent, "-"+next.name)
			m.stored = slices.DeleteFunc(m.stored, func(p Passed) bool {
				if p.Name == next.name {
					unix.Close(p.FD)
				}
				return p.Name == next.name
			})
		case slices.ContainsFunc(m.stored, same) || len(m.stored) >= m.max: // dropped silently
			m.sent = append(m.sent, "+"+next.name)
			unix.Close(next.fd)
		default:
			m.sent = append(m.sent, "+"+next.name)
			m.stored = append(m.stored, Passed{next.name, next.fd})
		}
	}
}

// Barrier implements Sender. The manager is not busy for longer than that.
func (m *manager) Barrier(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failure != nil {
		return m.failure
	}
	m.busy = false
	m.handle()
	return context.Cause(ctx)
}

// setBusy has the manager handle messages or not.
func (m *manager) setBusy(busy bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.busy = busy
	m.handle()
}

// passed returns what the next start gets, with descriptors of its own.
func (m *manager) passed() (passed []Passed) {
	m.setBusy(false)
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range m.stored {
		passed = append(passed, Passed{p.Name, duplicate(m.t, p.FD)})
	}
	return passed
}

// names returns the names of what is stored, without the set.
func (m *manager) names() (names []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range m.stored {
		names = append(names, p.Name[strings.LastIndex(p.Name, ".")+1:])
	}
	slices.Sort(names)
	return names
}

func (m *manager) want(names ...string) {
	m.t.Helper()
	if got := m.names(); !slices.Equal(got, names) {
		m.t.Errorf("stored are %q, want %q", got, names)
	}
}

// find returns the descriptor that is stored under the last part of a name.
func (m *manager) find(part string) *Passed {
	m.t.Helper()
	for i, p := range m.stored {
		if strings.HasSuffix(p.Name, "."+part) {
			return &m.stored[i]
		}
	}
	m.t.Fatalf("no %s is stored", part)
	return nil
}

// config is that of another start each time.
func (m *manager) config() Config {
	m.starts++
	return Config{Sender: m, Logger: &m.logs, Limit: m.max, Set: fmt.Sprint("3x5k", m.starts), Network: OwnNetwork()}
}

// recover is Recover with what is stored. Each write to the log is an event, too.
func (m *manager) recover() (*Store, Kept) {
	m.t.Helper()
	s, kept, err := Recover(m.config(), m.passed())
	if err != nil {
		m.t.Fatal(err)
	}
	m.watchLog(s)
	return s, kept
}

func (m *manager) watchLog(s *Store) {
	log, _, err := crashlog.Open([2]crashlog.File{watched{crashlog.Descriptor(s.slots[0].Int()), m}, watched{crashlog.Descriptor(s.slots[1].Int()), m}})
	if err != nil {
		m.t.Fatal(err)
	}
	s.log = log
}

// watched is a file of the log.
type watched struct {
	crashlog.Descriptor
	m *manager
}

func (w watched) WriteAt(b []byte, offset int64) (int, error) {
	w.m.onEvent()
	return w.Descriptor.WriteAt(b, offset)
}

// A testLog counts warnings.
type testLog struct {
	mu    sync.Mutex
	lines []string
}

func (l *testLog) Info(string, ...any)           {}
func (l *testLog) Error(msg string, args ...any) { l.Warn(msg, args...) }
func (l *testLog) Warn(msg string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, msg+fmt.Sprint(args...))
}

// want checks the lines since the last time.
func (l *testLog) want(t testing.TB, lines ...string) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	ok := len(l.lines) == len(lines)
	for i := range lines {
		ok = ok && strings.Contains(l.lines[i], lines[i])
	}
	if !ok {
		t.Errorf("logged %q, want %q", l.lines, lines)
	}
	l.lines = nil
}

func duplicate(t testing.TB, fd int) int {
	t.Helper()
	d, err := sys.Duplicate(fd)
	if err != nil {
		t.Fatal(err)
	}
	return d.Release()
}

// sameFile reports whether two descriptors are duplicates of one another. Of regular files, it also does so if the kernel
// does not say so: duplicates have one offset.
func sameFile(a, b int) bool {
	var x, y unix.Stat_t
	if unix.Fstat(a, &x) != nil || unix.Fstat(b, &y) != nil || x.Dev != y.Dev || x.Ino != y.Ino {
		return false
	}
	if x.Mode&unix.S_IFMT != unix.S_IFREG {
		same, err := sameDescription(a, b)
		return same && err == nil
	}
	was, err := unix.Seek(a, 0, io.SeekCurrent)
	if err != nil {
		return false
	}
	defer unix.Seek(a, was, io.SeekStart)
	unix.Seek(a, was+1, io.SeekStart)
	now, err := unix.Seek(b, 0, io.SeekCurrent)
	return err == nil && now == was+1
}

// pipe returns both ends of a pipe.
func pipe(t testing.TB) (r, w int) {
	t.Helper()
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	for _, fd := range ends {
		t.Cleanup(func() { unix.Close(fd) })
	}
	return ends[0], ends[1]
}

// socket returns a socket.
func socket(t testing.TB) int {
	t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// descriptors returns how many descriptors this process has open.
func descriptors(t testing.TB) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// end closes the descriptors of what was kept, and of the store, as the end of the process does.
func end(s *Store, files ...passing.KeptFile) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.retry != nil {
		s.retry.Stop()
	}
	s.slots.close()
	for _, f := range files {
		unix.Close(f.FD)
	}
}

func name(i int) passing.Name { return passing.ProgramName("file " + strconv.Itoa(i)) }
