package reap

import (
	"cmp"
	"errors"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"
)

// fakeTable is a system with the processes that a test puts there. Those of parent
// self are children; what the fields forbid returns an error.
type fakeTable struct {
	Unsupported

	noPeek, noWait, noPidfd, noPidfdWait, noProc, noChildrenFile error

	mu        sync.Mutex
	now       uint64
	processes map[int]*fakeProcess
	children  []int // the main thread's list; all in the order in which they came if nil
	added     int
	waited    []int // PIDs, in the order in which they were waited for
	listeners []chan os.Signal
	pollers   []*fakePoller
	held      map[int]int // descriptors of pidfds and their PIDs
	looks     int         // at stat files
	subreaper bool

	onOpen       func()        // called before a pidfd is opened
	onDescriptor func(fd int)  // called before a look at a descriptor
	onClose      func()        // called before a pidfd is closed
	descriptors  int           // there are no more than that; 64 if 0
	used         int           // of these, by other files; 3 if 0
	calls        int           // that a look at zombies makes
	entries      int           // of the lists that were read
	listing      time.Duration // how long it takes to list children: most of it is waiting for a CPU
}

type fakeProcess struct {
	pid, parent, session int
	number               int // in the order in which they came
	start                uint64
	exited               bool
	code                 int
	signals              []syscall.Signal
	gone                 bool   // waited for
	command              string // "program" if empty
}

const (
	self           = 100
	ownSession     = 10
	openFilesLimit = 1024
)

// newFakeTable returns a table with the given children, all older than the image, which
// is started at tick 1000.
func newFakeTable(children ...int) *fakeTable {
	f := &fakeTable{now: 1000, processes: make(map[int]*fakeProcess), held: make(map[int]int)}
	f.add(self, 1, 1000)
	for _, pid := range children {
		f.add(pid, self, 500)
	}
	return f
}

func (f *fakeTable) add(pid, parent int, start uint64) *fakeProcess {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.addLocked(pid, parent, start)
}

func (f *fakeTable) addLocked(pid, parent int, start uint64) *fakeProcess {
	p := &fakeProcess{pid: pid, parent: parent, session: ownSession, start: start}
	f.added++
	p.number = f.added
	f.processes[pid] = p
	return p
}

// steal waits for a process as another part of the program would.
func (f *fakeTable) steal(pid int) {
	f.mu.Lock()
	f.stealLocked(pid)
	f.mu.Unlock()
	f.announce(pid)
}

func (f *fakeTable) stealLocked(pid int) {
	f.processes[pid].gone = true
	delete(f.processes, pid)
}

// reuse has a child of this image take the PID of a child that was stolen.
func (f *fakeTable) reuse(pid int) { f.reuseBy(pid, false) }

func (f *fakeTable) reuseBy(pid int, exited bool) {
	f.mu.Lock()
	f.stealLocked(pid)
	f.now += 100
	f.addLocked(pid, self, f.now).exited = exited
	f.mu.Unlock()
	f.announce(pid)
}

func (f *fakeTable) exit(pid, code int) {
	f.mu.Lock()
	p := f.processes[pid]
	p.exited, p.code = true, code
	f.mu.Unlock()
	f.announce(pid)
}

func (f *fakeTable) announce(pid int) {
	f.mu.Lock()
	listeners, pollers := slices.Clone(f.listeners), slices.Clone(f.pollers)
	f.mu.Unlock()
	for _, c := range listeners {
		select {
		case c <- syscall.Signal(17):
		default:
		}
	}
	for _, poller := range pollers {
		poller.announce(pid)
	}
}

func (f *fakeTable) state(p *fakeProcess) State {
	switch {
	case p == nil || p.gone || p.parent != self:
		return NotOurs
	case p.exited:
		return Exited
	default:
		return Running
	}
}

// inOrder returns the children in the order in which they came.
func (f *fakeTable) inOrder() (pids []int) {
	for pid, p := range f.processes {
		if p.parent == self {
			pids = append(pids, pid)
		}
	}
	slices.SortFunc(pids, func(a, b int) int { return f.processes[a].number - f.processes[b].number })
	return pids
}

func (f *fakeTable) PeekAny() (int, State, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	if f.noPeek != nil {
		return 0, NotOurs, f.noPeek
	}
	var first *fakeProcess
	state := NotOurs
	for _, p := range f.processes {
		switch {
		case p.parent != self:
		case p.exited && (first == nil || p.number < first.number):
			first = p
		default:
			state = Running
		}
	}
	if first != nil {
		return first.pid, Exited, nil
	}
	return 0, state, nil
}

func (f *fakeTable) Peek(pid int) (State, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	if f.noPeek != nil {
		return NotOurs, f.noPeek
	}
	return f.state(f.processes[pid]), nil
}

func (f *fakeTable) PeekDescriptor(fd int) (int, error) {
	if f.onDescriptor != nil {
		f.onDescriptor(fd)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	pid, ok := f.held[fd]
	if f.noPidfdWait != nil {
		return 0, f.noPidfdWait
	}
	if !ok {
		return 0, errors.New("no pidfd")
	}
	if p := f.processes[pid]; p != nil && !p.exited {
		return 0, nil
	}
	return pid, nil
}

// forbidWait has waits fail from now on.
func (f *fakeTable) forbidWait(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.noWait = err
}

func (f *fakeTable) wait(p *fakeProcess, e *Exit) State {
	f.calls++
	state := f.state(p)
	if state == Exited {
		p.gone = true
		if f.processes[p.pid] == p {
			delete(f.processes, p.pid)
		}
		f.waited = append(f.waited, p.pid)
		if e != nil {
			e.Code = p.code
		}
	}
	return state
}

func (f *fakeTable) Wait(pid int, e *Exit) (State, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.noWait != nil {
		return NotOurs, f.noWait
	}
	return f.wait(f.processes[pid], e), nil
}

func (f *fakeTable) WaitAny(e *Exit) (State, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := f.inOrder()
	for _, pid := range all {
		if f.processes[pid].exited {
			e.PID = pid
			return f.wait(f.processes[pid], e), nil
		}
	}
	if len(all) == 0 {
		return NotOurs, nil
	}
	return Running, nil
}

func (f *fakeTable) Kill(pid int, sig syscall.Signal) error {
	f.mu.Lock()
	p := f.processes[pid]
	f.mu.Unlock()
	return f.signal(p, sig)
}

// signal ends a process that gets SIGKILL.
func (f *fakeTable) signal(p *fakeProcess, sig syscall.Signal) error {
	if p == nil || p.gone {
		return os.ErrProcessDone
	}
	p.signals = append(p.signals, sig)
	if sig == syscall.SIGKILL && !p.exited {
		f.exit(p.pid, -1)
	}
	return nil
}

func (f *fakeTable) NotifyExits() (<-chan os.Signal, func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := make(chan os.Signal, 1)
	f.listeners = append(f.listeners, c)
	return c, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.listeners = slices.DeleteFunc(f.listeners, func(l chan os.Signal) bool { return l == c })
	}
}

type fakePidfd struct {
	table *fakeTable
	p     *fakeProcess
	fd    int
}

func (f *fakeTable) Open(pid int) (Pidfd, error) {
	if f.onOpen != nil {
		f.onOpen()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	p := f.processes[pid]
	switch {
	case f.noPidfd != nil:
		return nil, f.noPidfd
	case p == nil:
		return nil, os.ErrProcessDone
	}
	fd := cmp.Or(f.used, 3)
	for f.held[fd] != 0 {
		fd++
	}
	if fd >= openFilesLimit {
		return nil, syscall.EMFILE
	}
	f.held[fd] = pid
	return &fakePidfd{f, p, fd}, nil
}

func (p *fakePidfd) FD() int { return p.fd }

func (p *fakePidfd) Peek() (State, error) {
	p.table.mu.Lock()
	defer p.table.mu.Unlock()
	return p.table.state(p.p), p.table.noPidfdWait
}

func (p *fakePidfd) Wait(e *Exit) (State, error) {
	p.table.mu.Lock()
	defer p.table.mu.Unlock()
	if err := cmp.Or(p.table.noPidfdWait, p.table.noWait); err != nil {
		return NotOurs, err
	}
	return p.table.wait(p.p, e), nil
}

func (p *fakePidfd) Signal(sig syscall.Signal) error { return p.table.signal(p.p, sig) }

func (p *fakePidfd) Close() {
	if p.table.onClose != nil {
		p.table.onClose()
	}
	p.table.mu.Lock()
	defer p.table.mu.Unlock()
	p.table.calls++
	delete(p.table.held, p.fd)
}

type fakePoller struct {
	exited chan []int
	closed chan struct{}

	mu   sync.Mutex
	pids []int
}

func (f *fakeTable) NewPoller() (Poller, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := &fakePoller{exited: make(chan []int), closed: make(chan struct{})}
	f.pollers = append(f.pollers, p)
	return p, nil
}

func (p *fakePoller) Add(_ Pidfd, pid int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pids = append(p.pids, pid)
	return nil
}

func (p *fakePoller) announce(pid int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !slices.Contains(p.pids, pid) {
		return
	}
	go func() {
		select {
		case p.exited <- []int{pid}:
		case <-p.closed:
		}
	}()
}

// fail ends the announcements as an error of the system does.
func (p *fakePoller) fail() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pids = nil
	close(p.exited)
}

func (p *fakePoller) Exited() <-chan []int { return p.exited }
func (p *fakePoller) Err() error           { return syscall.ENOMEM }
func (p *fakePoller) Close()               { close(p.closed) }

func (f *fakeTable) OwnNumbers() bool { return f.noProc == nil }

func (f *fakeTable) Stat(pid int) (Stat, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.looks++
	f.calls++
	p := f.processes[pid]
	if f.noProc != nil || p == nil {
		return Stat{}, os.ErrNotExist
	}
	return Stat{Command: cmp.Or(p.command, "program"), State: 'S', Parent: p.parent, Session: p.session, Start: p.start}, nil
}

// rename has a process execute another program.
func (f *fakeTable) rename(pid int, command string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.processes[pid].command = command
}

func (f *fakeTable) PIDs() (pids []int, err error) {
	for pid := range f.processes {
		pids = append(pids, pid)
	}
	slices.Sort(pids)
	return pids, f.noProc
}

func (f *fakeTable) Threads() ([]int, error) { return []int{self}, f.noProc }

func (f *fakeTable) ChildrenOf(tid int) ([]int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	pids := f.children
	switch {
	case f.noChildrenFile != nil:
		return nil, f.noChildrenFile
	case pids == nil:
		pids = f.inOrder()
	}
	f.calls++
	f.entries += len(pids)
	if f.listing > 0 {
		f.mu.Unlock()
		time.Sleep(f.listing)
		f.mu.Lock()
	}
	return pids, nil
}

func (f *fakeTable) FirstChildrenOf(tid int) ([]int, error) {
	pids, err := f.ChildrenOf(tid)
	return pids[:min(4, len(pids))], err
}

func (f *fakeTable) Session(pid int) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	if pid == 0 {
		pid = self
	}
	p := f.processes[pid]
	if p == nil {
		return 0, syscall.ESRCH
	}
	return p.session, nil
}

func (f *fakeTable) Now() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

func (f *fakeTable) Time(uint64) time.Time   { return time.Time{} }
func (f *fakeTable) PID() int                { return self }
func (f *fakeTable) NewestPID() (int, error) { return self, nil }
func (f *fakeTable) OpenFilesLimit() (_, _ uint64, _ error) {
	return openFilesLimit, openFilesLimit, nil
}

// CPUTime is a quarter of a microsecond for each call and entry.
func (f *fakeTable) CPUTime() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return time.Duration(f.calls+f.entries) * 250 * time.Nanosecond
}

func (f *fakeTable) DescriptorsEnd() (int, error)   { return cmp.Or(f.descriptors, 64), nil }
func (f *fakeTable) StartedByPidfd() bool           { return f.noPidfd == nil }
func (f *fakeTable) Subreaper() (bool, error)       { return f.subreaper, nil }
func (f *fakeTable) SetSubreaper(on bool) error     { f.subreaper = on; return nil }
func (f *fakeTable) ContinueSignal() syscall.Signal { return syscall.Signal(18) }

// later lets time pass, so that PIDs may have been given out again.
func (f *fakeTable) later() *fakeTable {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now += 100
	return f
}

// reports collects what a run reports.
type reports struct {
	mu        sync.Mutex
	exits     []Exit
	undecided []int
	noPidfds  bool

	notAnnounced error
}

func (r *reports) Listed(int, int, string)              {}
func (r *reports) NotAnnounced(err error)               { r.notAnnounced = err }
func (r *reports) Signalled(int, syscall.Signal, error) {}
func (r *reports) NoPidfds()                            { r.noPidfds = true }

func (r *reports) Reaped(e Exit) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.exits = append(r.exits, e)
}

func (r *reports) Undecided(p Process) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.undecided = append(r.undecided, p.PID)
}

// of returns the one report of a child.
func (r *reports) of(t *testing.T, pid int) Exit {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	var found []Exit
	for _, e := range r.exits {
		if e.PID == pid {
			found = append(found, e)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d reports of %d: %v", len(found), pid, r.exits)
	}
	return found[0]
}
