package reap

import (
	"context"
	"os"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// The PID of a zombie that another part of the program has waited for comes back, when the orphan
// reaper opens a pidfd for it.

// It is that of a process elsewhere. That is no reason to look on and on.
func TestReapOrphansPIDOfStranger(t *testing.T) {
	reapOrphans(t, func(t *testing.T, b *orphanBed) {
		b.add(500, self, b.fakeTable.now) // a child that the program will wait for
		p, _ := b.Open(500)
		defer p.Close()
		b.exit(500, 0)
		b.callsIn(time.Minute)
		b.orphans(1)
		pid := b.last
		var once sync.Once
		b.onOpen = func() {
			once.Do(func() {
				b.steal(pid)
				b.children = []int{500}
				b.add(pid, 1, b.fakeTable.now)
			})
		}
		b.callsIn(time.Minute)
		if calls := b.callsIn(time.Hour); calls > 100*100 {
			t.Error(calls, "calls in an hour")
		}
	})
}

// It is that of a child of os/exec, which exits after its pidfd was looked at.
func TestReapOrphansPIDOfChild(t *testing.T) {
	reapOrphans(t, func(t *testing.T, b *orphanBed) {
		b.orphans(1)
		pid := b.last
		var looked sync.Once
		var own Pidfd
		b.onOpen = func() {
			b.onOpen = nil
			b.reuse(pid)
			own, _ = b.Open(pid)
		}
		b.onDescriptor = func(fd int) {
			if own != nil && fd > own.FD() {
				looked.Do(func() { b.exit(pid, 3) })
			}
		}
		b.callsIn(10 * time.Minute)
		if len(b.waited) > 0 {
			t.Error("a child of os/exec was taken for an orphan")
		}
	})
}

// The PID of an inherited child comes back when a Reaper, which has just seen that it was the
// child's, opens a pidfd for it.
func TestReapPIDComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeTable(201, 202)
		s := TakeSnapshot(f, true)
		f.later()
		var once sync.Once
		f.onOpen = func() { once.Do(func() { f.reuse(201) }) }
		var r reports
		if err := s.Reap(t.Context(), s.TakeAll(), []Step{{syscall.SIGKILL, time.Second}}, &r); err != nil {
			t.Error(err)
		}
		if e := r.of(t, 201); !e.Lost || r.of(t, 202).Lost {
			t.Error(r.exits)
		}
		if own := f.processes[201]; own == nil || own.signals != nil {
			t.Error("a child of this image was touched")
		}
		if err := f.Kill(202, 0); err != os.ErrProcessDone {
			t.Error("left:", err)
		}
	})
}

// It is that of an orphan, while nothing else has exited that would have been a reason to look. Where
// there are no pidfds, the orphan reaper had not decided on the zombie.
func TestReapOrphansPIDOfUndecided(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeTable()
		f.noPidfd = syscall.ENOSYS
		s := TakeSnapshot(f, true)
		f.later().add(301, self, f.now)
		var r reports
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.ReapOrphans(ctx, &r) }()
		f.exit(301, 0)
		time.Sleep(time.Hour)
		synctest.Wait()
		f.mu.Lock()
		f.now += 100
		delete(f.processes, 301)
		f.mu.Unlock()
		f.add(301, self, f.now).session = 99 // born elsewhere
		f.exit(301, 5)
		time.Sleep(2 * time.Minute)
		cancel()
		<-done
		if len(r.undecided) != 1 {
			t.Error("undecided:", r.undecided)
		}
		r.of(t, 301)
	})
}
