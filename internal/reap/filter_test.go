package reap

import (
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// forbid has looks at children and waits fail, as by a filter that has come later, until allow.
func (f *fakeTable) forbid(look, wait error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.noPeek, f.noPidfdWait, f.noWait = look, look, wait
}

func (f *fakeTable) allow() { f.forbid(nil, nil) }

// A call that fails says nothing about the child: it is not lost.
func TestForbiddenCallsLoseNoChild(t *testing.T) {
	for name, wait := range map[string]error{"looks": nil, "looks and waits": syscall.EPERM} {
		for pidfds, noPidfd := range map[string]error{"with pidfds": nil, "without pidfds": syscall.ENOSYS} {
			t.Run(name+" "+pidfds, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					f := newFakeTable(201, 202, 203)
					f.noPidfd = noPidfd
					s := TakeSnapshot(f, true)
					f.later()
					a, _ := s.Adopt(202)
					b, _ := s.Adopt(203)
					waited := make(chan Exit)
					go func() { e, _ := a.Wait(t.Context()); waited <- e }()
					var r reports
					done := make(chan error)
					go func() { done <- s.Reap(t.Context(), s.TakeAll(), nil, &r) }()
					synctest.Wait()
					f.forbid(syscall.EPERM, wait)
					f.exit(201, 3)
					f.exit(202, 4)
					time.Sleep(time.Second)
					if err := b.Release(); err != nil {
						t.Error(err)
					}
					if b, ok := s.Adopt(203); !ok {
						t.Error("a child that can't be looked at can't be adopted")
					} else {
						b.Release()
					}
					f.allow()
					time.Sleep(time.Second)
					synctest.Wait()
					if e := r.of(t, 201); e.Lost || e.Code != 3 {
						t.Errorf("PID %d: code %d, lost %v", e.PID, e.Code, e.Lost)
					}
					if err := <-done; err != nil {
						t.Error(err)
					}
					if e := <-waited; e.Lost || e.Code != 4 {
						t.Errorf("PID %d: code %d, lost %v", e.PID, e.Code, e.Lost)
					}
				})
			})
		}
	}
}

// A filter that has come later forbids to look at children by pidfd. No child of os/exec passes for
// an orphan then.
func TestForbiddenPidfdsHideNoChild(t *testing.T) {
	reapOrphans(t, func(t *testing.T, b *orphanBed) {
		b.add(500, self, b.fakeTable.now)
		p, _ := b.Open(500)
		defer p.Close()
		b.exit(500, 0)
		b.orphans(1)
		b.mu.Lock()
		b.noPidfdWait = syscall.EPERM
		b.mu.Unlock()
		if calls := b.callsIn(time.Hour); calls > 100*100 {
			t.Error(calls, "calls in an hour")
		}
		b.allow()
		b.callsIn(2 * time.Minute)
		if !slices.Equal(b.waited, []int{b.last}) {
			t.Errorf("waited for %v, of the orphan %d and the child 500", b.waited, b.last)
		}
	})
}

// A filter that forbids to look at a child forbids neither to signal nor to continue it.
func TestForbiddenLooksAtStoppedChild(t *testing.T) {
	f := &headlessTable{newFakeTable(201)}
	c := TakeSnapshot(f, true).child(201)
	if !c.mayBeStopped() {
		t.Error("it lives, and is not known to see signals")
	}
	f.noPeek = syscall.EPERM
	if !c.mayBeStopped() {
		t.Error("that it can't be looked at says that it sees signals")
	}
	f.allow()
	if f.exit(201, 0); c.mayBeStopped() {
		t.Error("it has exited")
	}
}

// headlessTable has processes whose first threads have exited.
type headlessTable struct{ *fakeTable }

func (t headlessTable) Stat(pid int) (Stat, error) {
	stat, err := t.fakeTable.Stat(pid)
	stat.State = Zombie
	return stat, err
}
