package reap

import (
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
)

// threadedTable has a thread as old as its image, and descriptors that may all be used.
type threadedTable struct {
	*fakeTable
	full atomic.Bool
}

const oldestThread, threadStart = 200, 1000

func (t *threadedTable) Threads() ([]int, error) {
	if t.full.Load() {
		return nil, syscall.EMFILE
	}
	return []int{self, oldestThread}, nil
}

func (t *threadedTable) ThreadStart(int) (uint64, error) { return threadStart, nil }

func (t *threadedTable) Stat(pid int) (Stat, error) {
	if t.full.Load() {
		return Stat{}, syscall.EMFILE
	}
	return t.fakeTable.Stat(pid)
}

// Children that this image has started before the snapshot are not inherited, also if the table
// of descriptors is full by the time that the list is used.
func TestSnapshotWithoutOwn(t *testing.T) {
	f := &threadedTable{fakeTable: newFakeTable(199)}
	f.add(201, self, threadStart)
	f.add(202, self, threadStart+2)
	f.now = threadStart + 2
	s := TakeSnapshot(f, true)
	f.full.Store(true)
	f.later()
	if got := s.Free(); !slices.Equal(got, []int{199}) || !slices.Equal(s.all, got) {
		t.Errorf("free: %v, listed: %v", got, s.all)
	}
	if _, ok := s.Adopt(201); ok {
		t.Error("adopted a child of this image")
	}
}
