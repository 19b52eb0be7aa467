package reap

import (
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
