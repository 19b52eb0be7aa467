package reap

import (
	"errors"
	"slices"
	"syscall"
	"testing"
)

func TestSnapshotTake(t *testing.T) {
	s := &Snapshot{free: []int{1, 2, 3}, system: system{table: Unsupported{}}}
	s.all = s.free
	if !s.take(2) || s.take(2) || s.take(4) {
		t.Error("take")
	}
	if got := s.Free(); !slices.Equal(got, []int{1, 3}) {
		t.Errorf("Free = %v", got)
	}
	taken := s.TakeAll()
	if !slices.Equal(taken, []int{1, 3}) || s.TakeAll() != nil {
		t.Errorf("TakeAll = %v", taken)
	}
	s.GiveBack(3)
	s.GiveBack()
	if got := s.Free(); !slices.Equal(got, []int{3}) || !slices.Equal(taken, []int{1, 3}) {
		t.Errorf("given back: %v; taken before: %v", got, taken)
	}
	if !slices.Equal(s.all, []int{1, 2, 3}) {
		t.Errorf("listed: %v", s.all)
	}
}

// The ways to list children, and what each does with a poor system.
func TestTakeSnapshot(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(f *fakeTable)
		want   []int
		by     string
		err    error
	}{
		{"children file", func(f *fakeTable) {}, []int{201, 202}, byChildren, nil},
		{"no children", func(f *fakeTable) { f.steal(201); f.steal(202) }, nil, byNothing, nil},
		{"no children file", func(f *fakeTable) { f.noChildrenFile = syscall.ENOENT }, []int{201, 202}, byParent, nil},
		{"empty file", func(f *fakeTable) { f.children = []int{} }, []int{201, 202}, byParent, nil},
		{"stranger first", func(f *fakeTable) { f.children = []int{1, 201, 202} }, []int{201, 202}, byParent, nil},
		{"stranger last", func(f *fakeTable) { f.children = []int{201, 202, 1} }, []int{201, 202}, byParent, nil},
		{"nothing of /proc", func(f *fakeTable) { f.noChildrenFile, f.noProc = syscall.ENOENT, syscall.ENOENT }, []int{201, 202}, byProbing, nil},
		{"nothing at all", func(f *fakeTable) {
			f.noChildrenFile, f.noProc, f.noPeek = syscall.ENOENT, syscall.ENOENT, syscall.EPERM
		}, nil, byProbing, errors.ErrUnsupported},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFakeTable(201, 202)
			tt.change(f)
			s := TakeSnapshot(f, true)
			if got := s.Free(); !slices.Equal(got, tt.want) || s.by != tt.by || !errors.Is(s.Err(), tt.err) {
				t.Errorf("%v by %s, %v; want %v by %s, %v", got, s.by, s.Err(), tt.want, tt.by, tt.err)
			}
		})
	}
}

// Without a look at children, the zombies are waited for, and their exits are kept.
func TestTakeSnapshotByWaiting(t *testing.T) {
	poor := func() *fakeTable {
		f := newFakeTable(201, 202)
		f.noPeek, f.noChildrenFile, f.noProc, f.noPidfd = unsupported("waitid"), errors.ErrUnsupported, errors.ErrUnsupported, errors.ErrUnsupported
		f.exit(202, 3)
		return f
	}
	f := poor()
	s := TakeSnapshot(f, true)
	if got := s.Free(); !slices.Equal(got, []int{202, 201}) || s.Err() != nil {
		t.Errorf("%v, %v", got, s.Err())
	}
	a, ok := s.Adopt(202)
	if !ok {
		t.Fatal("can't be adopted")
	}
	if e, err := a.Wait(t.Context()); err != nil || e.Code != 3 {
		t.Errorf("%+v, %v", e, err)
	}

	// An image that was not executed by one of ours has no children, as a rule.
	f = poor()
	s = TakeSnapshot(f, false)
	if got := s.Free(); got != nil || s.Err() != nil || f.waited != nil {
		t.Errorf("%v, %v, waited for %v", got, s.Err(), f.waited)
	}

	s = TakeSnapshot(Unsupported{}, false)
	if err := s.Err(); !errors.Is(err, errors.ErrUnsupported) {
		t.Error(err)
	}
}
