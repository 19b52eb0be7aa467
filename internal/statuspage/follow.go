package statuspage

import (
	"context"
	"maps"
	"os"
	"slices"
	"sync"
	"time"
)

// A Follower waits for changes of many processes. It has one inotify descriptor, and one pidfd for each process.
type Follower struct {
	changed chan struct{}

	mu      sync.Mutex
	inotify *os.File    // nil without inotify
	pids    map[int]int // by watch descriptor
	dirty   map[int]bool
	ended   map[int]bool
	open    []*os.File // pidfds
}

// NewFollower returns a Follower of no process. The caller closes it.
func NewFollower() *Follower {
	f := &Follower{changed: make(chan struct{}, 1), pids: map[int]int{}, dirty: map[int]bool{}, ended: map[int]bool{}}
	if w, err := newWatch(); err == nil {
		f.inotify = w
		go f.read()
	}
	return f
}

// Close ends the following.
func (f *Follower) Close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for wd := range f.pids {
		removeWatch(f.inotify, wd)
	}
	if f.inotify != nil {
		f.inotify.Close()
	}
	for _, process := range f.open {
		process.Close()
	}
}

// Process follows the end of a process. It reports false if there is no such process.
func (f *Follower) Process(pid int) bool {
	process, err := openProcess(pid)
	if err != nil {
		return err != ErrNoProcess
	}
	f.mu.Lock()
	f.open = append(f.open, process)
	f.mu.Unlock()
	go func() {
		if waitForEnd(process) {
			f.end(pid)
		}
	}()
	return true
}

// Page follows the page of a process.
func (f *Follower) Page(r *Reader) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.inotify == nil {
		return
	}
	if wd, err := addWatch(f.inotify, r.page); err == nil {
		f.pids[wd] = r.pid
	}
}

// Forget says that a process need not be followed any more. The close of an inotify descriptor that still has watches
// takes milliseconds, also when this process ends.
func (f *Follower) Forget(pid int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for wd, of := range f.pids {
		if of == pid {
			removeWatch(f.inotify, wd)
			delete(f.pids, wd)
		}
	}
}

func (f *Follower) read() {
	for b := make([]byte, 16<<10); ; {
		n, err := f.inotify.Read(b)
		if err != nil {
			return // it is closed
		}
		f.mu.Lock()
		all := false
		for _, wd := range watchesIn(b[:n]) {
			pid, ok := f.pids[wd]
			if ok {
				f.dirty[pid] = true
			}
			all = all || wd < 0 // an overflow: events are lost
		}
		if all {
			for _, pid := range f.pids {
				f.dirty[pid] = true
			}
		}
		f.mu.Unlock()
		signal(f.changed)
	}
}

// end notes that a process has ended.
func (f *Follower) end(pid int) {
	f.mu.Lock()
	f.dirty[pid], f.ended[pid] = true, true
	f.mu.Unlock()
	signal(f.changed)
}

// Ended reports whether a process has ended, as far as that is known.
func (f *Follower) Ended(pid int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ended[pid]
}

// Wait waits until a page has changed, a process has ended, or the time is up, and returns the PIDs of the processes
// that have changed.
func (f *Follower) Wait(ctx context.Context, limit time.Duration) (pids []int) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-f.changed:
	case <-timer.C:
	case <-ctx.Done():
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	pids = slices.Sorted(maps.Keys(f.dirty))
	clear(f.dirty)
	return pids
}
