package reap

import (
	"slices"
	"syscall"
	"testing"
)

// The PID of an inherited child belongs to it until it has been waited for, and to a
// younger process after that.
func TestBelongs(t *testing.T) {
	const pid = 200
	for _, tt := range []struct {
		name   string
		change func(f *fakeTable, c *child)
		want   bool
	}{
		{"it lives", func(f *fakeTable, c *child) { f.later() }, true},
		{"it has exited", func(f *fakeTable, c *child) { f.later().exit(pid, 0) }, true},
		{"it lives, and is held", func(f *fakeTable, c *child) { c.hold(); f.later() }, true},
		{"it was stolen", func(f *fakeTable, c *child) { f.later().steal(pid) }, false},
		{"it was stolen in the first tick", func(f *fakeTable, c *child) { f.steal(pid) }, false},
		{"it was held, and stolen", func(f *fakeTable, c *child) { c.hold(); f.later().steal(pid) }, false},
		{"it was reused", func(f *fakeTable, c *child) { f.reuse(pid) }, false},
		{"it was held, and reused", func(f *fakeTable, c *child) { c.hold(); f.reuse(pid) }, false},
		{"it was reused, and held then", func(f *fakeTable, c *child) { f.reuse(pid); c.hold() }, false},
		{"it was held, and reused, without waitid", func(f *fakeTable, c *child) {
			f.noPidfdWait = syscall.EINVAL
			c.hold()
			f.reuse(pid)
		}, false},
		{"it is no child", func(f *fakeTable, c *child) { f.processes[pid].parent = 1 }, false},
		{"it was vouched for", func(f *fakeTable, c *child) { f.later(); c.vouched = true }, true},
		{"it was vouched for, and stolen", func(f *fakeTable, c *child) { f.later().steal(pid); c.vouched = true }, false},
		{"it was reused, and nothing tells", func(f *fakeTable, c *child) { f.noProc = syscall.ENOENT; f.reuse(pid) }, true},
		{"it can't be looked at", func(f *fakeTable, c *child) { f.noPeek = unsupported("waitid"); f.later() }, true},
		{"a look fails", func(f *fakeTable, c *child) { f.noPeek = syscall.EPERM; f.later() }, true},
		{"it was reused, and a look fails", func(f *fakeTable, c *child) { f.reuse(pid); f.noPeek = syscall.EPERM }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFakeTable(pid)
			c := TakeSnapshot(f, true).child(pid)
			tt.change(f, c)
			if got := c.belongs(); got != tt.want {
				t.Errorf("belongs() = %v", got)
			}
		})
	}
}

// However late and for however many children, one look vouches for all.
func TestVouch(t *testing.T) {
	f := newFakeTable(201, 202, 203, 204, 205, 206, 207, 208)
	f.exit(202, 3)
	s := TakeSnapshot(f, true)
	f.later().add(209, self, f.now)
	all := s.Free()
	if len(all) != 8 {
		t.Fatal("listed", all)
	}
	for _, some := range [][]int{all, all[:1], all[1:], {203, 201, 202}} {
		for _, living := range []int{0, fewLiving} {
			f.looks = 0
			for pids := some; len(pids) > 0; {
				vouched := s.vouch(pids, living)
				if len(vouched) == 0 || slices.Contains(vouched, false) {
					t.Fatalf("vouch(%v, %d) = %v, of %v", pids, living, vouched, all)
				}
				pids = pids[len(vouched):]
			}
			if f.looks > 3 {
				t.Errorf("vouch(%v, %d) looked at %d processes", some, living, f.looks)
			}
		}
	}
	if s.vouch([]int{209}, 0)[0] {
		t.Error("it vouches for a child of this image")
	}
}

// Nothing is vouched for that is younger than the image, or not in the list.
func TestVouchDoubts(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(f *fakeTable)
		want   []bool
	}{
		{"nothing has happened", func(f *fakeTable) {}, []bool{true, true, true}},
		{"the last was reused", func(f *fakeTable) { f.reuse(203) }, []bool{true, true, false}},
		{"the first was stolen", func(f *fakeTable) { f.steal(201) }, []bool{false, true, true}},
		{"there is no list", func(f *fakeTable) { f.noChildrenFile = syscall.ENOENT }, []bool{false, false, false}},
		{"there are no start times", func(f *fakeTable) { f.noProc = syscall.ENOENT }, []bool{false, false, false}},
		{"the list is out of order", func(f *fakeTable) { f.children = []int{203, 202, 201} }, []bool{false, false, true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFakeTable(201, 202, 203)
			s := TakeSnapshot(f, true)
			pids := s.TakeAll()
			s.numbersChecked.Store(false)
			tt.change(f.later())
			if got := s.vouch(pids, fewLiving); !slices.Equal(got, tt.want) {
				t.Errorf("vouch = %v, want %v", got, tt.want)
			}
		})
	}
}
