package reap

import (
	"context"
	"errors"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestReapOrphans(t *testing.T) {
	for name, pidfds := range map[string]error{"with pidfds": nil, "without pidfds": syscall.ENOSYS} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFakeTable(201)
				f.noPidfd = pidfds
				s := TakeSnapshot(f, true)
				f.later()
				var r reports
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error)
				go func() { done <- s.ReapOrphans(ctx, &r) }()
				synctest.Wait()

				f.add(301, self, f.now).session = 99 // born elsewhere
				f.add(302, self, f.now)              // an orphan of our session
				f.add(303, self, f.now)              // a child of os/exec
				f.add(304, self, 600)                // an orphan that is older than this image
				if pidfds == nil {
					p, _ := f.Open(303)
					defer p.Close()
				}
				for _, pid := range []int{301, 302, 303, 304, 201} {
					f.exit(pid, 5)
				}
				time.Sleep(10 * time.Minute)
				synctest.Wait()
				r.of(t, 201)
				r.of(t, 301)
				r.of(t, 304)
				if pidfds == nil {
					r.of(t, 302)
				} else if slices.Sort(r.undecided); !slices.Equal(r.undecided, []int{302, 303}) || !r.noPidfds {
					t.Error("undecided:", r.undecided)
				}
				if f.processes[303] == nil {
					t.Error("the child of os/exec was taken")
				}
				cancel()
				if err := <-done; !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
			})
		})
	}
}

// An inherited child that is adopted is no orphan.
func TestReapOrphansAdopted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeTable(201, 202)
		s := TakeSnapshot(f, true)
		a, _ := s.Adopt(201)
		f.later()
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		done := make(chan error)
		go func() { done <- s.ReapOrphans(ctx, nil) }()
		f.exit(201, 3)
		f.exit(202, 4)
		<-done
		if e, err := a.Wait(t.Context()); err != nil || e.Lost || e.Code != 3 {
			t.Errorf("%+v, %v", e, err)
		}
		if !slices.Equal(f.waited, []int{202, 201}) {
			t.Error("waited for", f.waited)
		}
	})
}

// While an orphan is about to be reaped, another part of the program waits for it, and
// its PID comes back as a child that another thread has started without a pidfd.
func TestReapOrphansReusedPID(t *testing.T) {
	reapOrphans(t, func(t *testing.T, b *orphanBed) {
		b.orphans(1)
		pid := b.last
		var once sync.Once
		b.onOpen = func() {
			once.Do(func() {
				b.reuse(pid)
				b.children = []int{}
				b.exit(pid, 3)
			})
		}
		b.callsIn(10 * time.Minute)
		if len(b.waited) > 0 {
			t.Error("a child was taken for an orphan")
		}
	})
}

// A filter that has come later forbids to wait.
func TestReapOrphansWaitFails(t *testing.T) {
	reapOrphans(t, func(t *testing.T, b *orphanBed) {
		b.forbidWait(syscall.EPERM)
		b.add(500, self, b.fakeTable.now).session = 99 // born elsewhere
		b.exit(500, 0)
		b.orphans(1)
		if calls := b.callsIn(time.Hour); calls > 100*100 {
			t.Error(calls, "calls in an hour")
		}
		b.forbidWait(nil)
		time.Sleep(time.Hour)
		if n := b.waiting(); n > 0 {
			t.Error("left:", n)
		}
	})
}

func TestReapOrphansUnsupported(t *testing.T) {
	s := TakeSnapshot(Unsupported{}, false)
	if err := s.ReapOrphans(t.Context(), nil); !errors.Is(err, errors.ErrUnsupported) {
		t.Error(err)
	}
}

// Of two runs that make the process a subreaper, the last one ends that.
func TestSubreaper(t *testing.T) {
	f := newFakeTable()
	var s Subreaper
	if _, err := s.Acquire(f, false); !errors.Is(err, errors.ErrUnsupported) {
		t.Error(err)
	}
	releaseFirst, err := s.Acquire(f, true)
	if err != nil || !f.subreaper {
		t.Error(err)
	}
	releaseSecond, err := s.Acquire(f, true)
	if err != nil {
		t.Error(err)
	}
	releaseThird, err := s.Acquire(f, false) // which has no part in it
	if err != nil {
		t.Error(err)
	}
	releaseFirst()
	if !f.subreaper {
		t.Error("the first has ended it for the second")
	}
	releaseSecond()
	if f.subreaper {
		t.Error("still a subreaper")
	}
	releaseThird()

	f.subreaper = true // from elsewhere
	release, err := s.Acquire(f, true)
	if err != nil {
		t.Error(err)
	}
	if release(); !f.subreaper {
		t.Error("ended what it has not begun")
	}
}
