package reap

import (
	"context"
	"errors"
	"os"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// A run with nothing to do returns nil, even if its context has ended.
func TestReapNothing(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var r reports
	if err := TakeSnapshot(newFakeTable(), true).Reap(ctx, nil, nil, &r); err != nil || r.exits != nil {
		t.Errorf("%v, reported %v", err, r.exits)
	}
}

// systems are tables that can do more or less.
var systems = map[string]func(f *fakeTable){
	"everything":           func(f *fakeTable) {},
	"no waitid for pidfds": func(f *fakeTable) { f.noPidfdWait = syscall.EINVAL },
	"no pidfds":            func(f *fakeTable) { f.noPidfd = syscall.ENOSYS },
	"no /proc":             func(f *fakeTable) { f.noProc, f.noChildrenFile = syscall.ENOENT, syscall.ENOENT },
	"no pidfds and no /proc": func(f *fakeTable) {
		f.noPidfd, f.noProc, f.noChildrenFile = syscall.EPERM, syscall.ENOENT, syscall.ENOENT
	},
	"no children file":      func(f *fakeTable) { f.noChildrenFile = syscall.ENOENT },
	"no file and no pidfds": func(f *fakeTable) { f.noPidfd, f.noChildrenFile = syscall.EMFILE, syscall.ENOENT },
	"nothing but wait and kill": func(f *fakeTable) {
		f.noPeek, f.noPidfd, f.noProc, f.noChildrenFile = unsupported("waitid"), errors.ErrUnsupported, errors.ErrUnsupported, errors.ErrUnsupported
	},
}

func onSystems(t *testing.T, test func(t *testing.T, f *fakeTable), children ...int) {
	for name, change := range systems {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFakeTable(children...)
				change(f)
				test(t, f)
				if len(f.held) > 0 || len(f.listeners) > 0 {
					t.Errorf("left open: %v, %d listeners", f.held, len(f.listeners))
				}
			})
		})
	}
}

func TestReap(t *testing.T) {
	onSystems(t, func(t *testing.T, f *fakeTable) {
		f.exit(201, 3)
		s := TakeSnapshot(f, true)
		f.later().add(204, self, f.now) // a child of this image
		var r reports
		done := make(chan error)
		go func() {
			done <- s.Reap(t.Context(), s.TakeAll(), []Step{{syscall.SIGHUP, time.Minute}, {syscall.SIGKILL, time.Minute}}, &r)
		}()
		synctest.Wait()
		f.exit(202, 0)
		time.Sleep(time.Second)
		if e := r.of(t, 202); e.Code != 0 || e.Sent != nil {
			t.Error(e)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		if e := r.of(t, 201); e.Code != 3 || e.Lost || e.Sent != nil {
			t.Error(e)
		}
		e := r.of(t, 203)
		sent := slices.DeleteFunc(slices.Clone(e.Sent), func(sig syscall.Signal) bool { return sig == f.ContinueSignal() })
		if e.Code != -1 || e.Lost || !slices.Equal(sent, []syscall.Signal{syscall.SIGHUP, syscall.SIGKILL}) {
			t.Error(e)
		}
		if own := f.processes[204]; own == nil || own.signals != nil {
			t.Error("a child of this image was touched")
		}
	}, 201, 202, 203)
}

// The status of a child that another part of the program has waited for is lost, and
// the process that has its PID now is left alone.
func TestReapReused(t *testing.T) {
	for _, when := range []string{"before", "meanwhile"} {
		t.Run(when, func(t *testing.T) {
			onSystems(t, func(t *testing.T, f *fakeTable) {
				if f.noProc != nil {
					return // nothing tells
				}
				s := TakeSnapshot(f, true)
				if when == "before" {
					f.reuseBy(201, true)
					f.reuse(202)
				}
				var r reports
				done := make(chan error)
				go func() {
					done <- s.Reap(t.Context(), s.TakeAll(), []Step{{syscall.SIGTERM, time.Second}, {syscall.SIGKILL, time.Second}}, &r)
				}()
				synctest.Wait()
				if when == "meanwhile" {
					f.reuseBy(201, true)
					f.reuse(202)
				}
				if err := <-done; err != nil {
					t.Error(err)
				}
				if !r.of(t, 201).Lost || !r.of(t, 202).Lost || r.of(t, 203).Lost {
					t.Error(r.exits)
				}
				for _, pid := range []int{201, 202} {
					if own := f.processes[pid]; own == nil || own.signals != nil {
						t.Error("a child of this image was touched:", pid)
					}
				}
			}, 201, 202, 203)
		})
	}
}

// The children that are left when the context ends are free again.
func TestReapContext(t *testing.T) {
	onSystems(t, func(t *testing.T, f *fakeTable) {
		s := TakeSnapshot(f, true)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second/2)
		defer cancel()
		err := s.Reap(ctx, s.TakeAll(), []Step{{syscall.SIGKILL, time.Second}}, nil)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if free := s.Free(); len(free) != 2 || f.processes[201].signals != nil {
			t.Errorf("free: %v, signals: %v", free, f.processes[201].signals)
		}
	}, 201, 202)
}

func TestAdopted(t *testing.T) {
	onSystems(t, func(t *testing.T, f *fakeTable) {
		s := TakeSnapshot(f, true)
		f.later()
		if _, ok := s.Adopt(999); ok {
			t.Error("adopted a stranger")
		}
		a, ok := s.Adopt(201)
		if !ok {
			t.Fatal("can't be adopted")
		}
		if _, ok := s.Adopt(201); ok {
			t.Error("adopted twice")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := a.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		go func() {
			time.Sleep(time.Second)
			if err := a.Signal(syscall.SIGKILL); err != nil {
				t.Error(err)
			}
		}()
		for range 2 {
			e, err := a.Wait(t.Context())
			if err != nil || e.Code != -1 || e.Lost || !slices.Equal(e.Sent, []syscall.Signal{syscall.SIGKILL}) {
				t.Errorf("%+v, %v", e, err)
			}
		}
		if err := a.Signal(syscall.SIGTERM); err != os.ErrProcessDone {
			t.Error(err)
		}
		if err := a.Release(); err != os.ErrClosed {
			t.Error(err)
		}

		b, _ := s.Adopt(202)
		if err := b.Release(); err != nil {
			t.Error(err)
		}
		if err := b.Signal(syscall.SIGTERM); err != os.ErrClosed {
			t.Error(err)
		}
		if _, err := b.Wait(t.Context()); err != os.ErrClosed {
			t.Error(err)
		}
		if free := s.Free(); !slices.Equal(free, []int{202}) {
			t.Errorf("free: %v", free)
		}
	}, 201, 202)
}

// TestAdoptedName: the name is that of the program that the child ran at its end.
func TestAdoptedName(t *testing.T) {
	onSystems(t, func(t *testing.T, f *fakeTable) {
		s := TakeSnapshot(f, true)
		f.later()
		a, ok := s.Adopt(201)
		if !ok {
			t.Fatal("can't be adopted")
		}
		f.rename(201, "renamed")
		go func() {
			time.Sleep(time.Second)
			a.Signal(syscall.SIGKILL)
		}()
		want := "renamed"
		if _, err := f.Stat(201); err != nil {
			want = ""
		}
		if e, err := a.Wait(t.Context()); err != nil || e.Command != want {
			t.Errorf("%+v, %v; want the name %q", e, err, want)
		}
	}, 201)
}

func TestAdoptedLost(t *testing.T) {
	onSystems(t, func(t *testing.T, f *fakeTable) {
		s := TakeSnapshot(f, true)
		a, ok := s.Adopt(201)
		if !ok {
			t.Fatal("can't be adopted")
		}
		f.steal(201)
		if e, err := a.Wait(t.Context()); err != nil || !e.Lost || e.Code != -1 {
			t.Errorf("%+v, %v", e, err)
		}
		if err := a.Signal(syscall.SIGTERM); err != os.ErrProcessDone {
			t.Error(err)
		}
	}, 201)
}

// Children are reaped and waited for also when their exits are not announced any more.
func TestNotAnnounced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeTable(201, 202, 203)
		s := TakeSnapshot(f, true)
		a, _ := s.Adopt(203)
		waited := make(chan error)
		go func() { _, err := a.Wait(t.Context()); waited <- err }()
		var r reports
		done := make(chan error)
		go func() { done <- s.Reap(t.Context(), s.TakeAll(), nil, &r) }()
		synctest.Wait()
		for _, poller := range f.pollers {
			poller.fail()
		}
		synctest.Wait()
		if r.notAnnounced != syscall.ENOMEM {
			t.Error("not reported:", r.notAnnounced)
		}
		for _, pid := range []int{201, 202, 203} {
			f.exit(pid, 0)
			time.Sleep(time.Second)
		}
		if err := <-done; err != nil || len(r.exits) != 2 {
			t.Error(err, r.exits)
		}
		if err := <-waited; err != nil {
			t.Error(err)
		}
		if len(f.held) > 0 || len(f.listeners) > 0 {
			t.Errorf("left open: %v, %d listeners", f.held, len(f.listeners))
		}
	})
}
