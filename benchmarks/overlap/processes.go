//go:build linux

package overlap

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	lookInterval   = 5 * time.Millisecond
	looksForMemory = 10 // between two sums of the memory
)

// processes are those of a server: the one that was started first, and its descendants.
type processes struct {
	stop, stopped chan struct{}

	mu      sync.Mutex
	living  []*life
	all     []*life
	reports reports
	memory  int64 // bytes, in the sum of all processes
	peak    int64 // of memory
	err     error // of a look
}

// A life is that of a process.
type life struct {
	pid   int
	seen  time.Time // for the first time
	ended time.Time // zero while it lives
}

// observe begins to look at a process and its descendants. They append their reports to a file.
func observe(pid int, reportFile string) *processes {
	first := &life{pid: pid, seen: time.Now()}
	p := &processes{
		stop: make(chan struct{}), stopped: make(chan struct{}),
		living: []*life{first}, all: []*life{first}, reports: reports{file: reportFile},
	}
	go p.run()
	return p
}

func (p *processes) close() {
	close(p.stop)
	<-p.stopped
}

func (p *processes) run() {
	defer close(p.stopped)
	tick := time.NewTicker(lookInterval)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-p.stop:
			return
		case <-tick.C:
		}
		p.look(n%looksForMemory == 0)
	}
}

func (p *processes) look(withMemory bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	before := p.living
	p.living = nil
	for i := 0; i < len(before); i++ {
		l := before[i]
		for _, pid := range childrenOf(l.pid) {
			if !contains(before, pid) {
				child := &life{pid: pid, seen: now}
				before = append(before, child)
				p.all = append(p.all, child)
			}
		}
		if isAlive(l.pid) {
			p.living = append(p.living, l)
		} else {
			l.ended = now
		}
	}
	if err := p.reports.read(); err != nil {
		p.err = err
	}
	if withMemory {
		p.memory = 0
		for _, l := range p.living {
			p.memory += proportionalSize(l.pid)
		}
		p.peak = max(p.peak, p.memory)
	}
}

func contains(lives []*life, pid int) bool {
	for _, l := range lives {
		if l.pid == pid {
			return true
		}
	}
	return false
}

// await waits until a condition on the processes holds. The condition is called with them locked.
func (p *processes) await(what string, limit time.Duration, condition func() bool) error {
	for began := time.Now(); ; time.Sleep(lookInterval) {
		p.mu.Lock()
		done, err := condition(), p.err
		p.mu.Unlock()
		switch {
		case done || err != nil:
			return err
		case time.Since(began) > limit:
			return fmt.Errorf("no %s for %v", what, limit)
		}
	}
}

// since returns the processes that were started after a time. It is called with p locked.
func (p *processes) since(t time.Time) (new []*life) {
	for _, l := range p.all {
		if l.seen.After(t) {
			new = append(new, l)
		}
	}
	return new
}

// childrenOf returns the children of all threads of a process.
func childrenOf(pid int) (children []int) {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid)) // none if it has ended
	for _, task := range tasks {
		content, _ := os.ReadFile(task)
		for _, field := range strings.Fields(string(content)) {
			if pid, err := strconv.Atoi(field); err == nil {
				children = append(children, pid)
			}
		}
	}
	return children
}

// isAlive reports whether a process has not ended. One that was not waited for has ended. During an
// exec, the main thread may have ended before the others.
func isAlive(pid int) bool {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	fields := strings.Fields(string(content[bytes.LastIndexByte(content, ')')+1:]))
	const state, threads = 0, 17
	return err == nil && len(fields) > threads && (fields[state] != "Z" || fields[threads] != "1")
}

// proportionalSize returns the PSS of a process in bytes, see proc_pid_smaps(5). It is zero if the
// process has ended.
func proportionalSize(pid int) int64 {
	content, _ := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	_, line, _ := strings.Cut(string(content), "\nPss:")
	var kilobytes int64
	fmt.Sscan(line, &kilobytes)
	return kilobytes << 10
}

// memoryNow returns the sum of the memory of all processes that was read last.
func (p *processes) memoryNow() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.memory
}

// descriptorsOf returns the number of open descriptors of a process.
func descriptorsOf(pid int) (int, error) {
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	return len(entries), err
}
