package reap

import (
	"context"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// A list of children that can't be read now is not a list that there is not: a child that
// another thread has started without a pidfd is left alone.
func TestReapOrphansListUnread(t *testing.T) {
	reapOrphans(t, func(t *testing.T, b *orphanBed) {
		list := func(err error) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.noChildrenFile = err
		}
		list(syscall.EMFILE)
		b.orphans(1) // for all that can be told, it is such a child
		if calls := b.callsIn(time.Hour); calls > 100*100 {
			t.Error(calls, "calls in an hour")
		}
		if len(b.waited) > 0 {
			t.Error("a zombie was reaped that may be a child")
		}
		list(nil)
		b.callsIn(2 * time.Minute)
		if n := b.waiting(); n > 0 {
			t.Error("left:", n)
		}
	})
}

// A start time that can't be read now may be read later: the zombie is not undecided.
func TestReapOrphansAgeUnread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &threadedTable{fakeTable: newFakeTable(199)}
		f.noPidfd = syscall.ENOSYS
		s := TakeSnapshot(f, true)
		f.later().add(301, self, threadStart-1) // an orphan that is older than the image
		f.full.Store(true)
		var r reports
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.ReapOrphans(ctx, &r) }()
		f.exit(301, 0)
		f.exit(199, 0)
		time.Sleep(time.Hour)
		synctest.Wait()
		f.full.Store(false)
		time.Sleep(2 * time.Minute)
		cancel()
		<-done
		if len(r.undecided) > 0 {
			t.Error("undecided:", r.undecided)
		}
		r.of(t, 301)
		r.of(t, 199)
	})
}
