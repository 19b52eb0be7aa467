package drain

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// isClosed reports whether the channel of Draining is closed.
func isClosed(g *Group) bool {
	select {
	case <-g.Draining():
		return true
	default:
		return false
	}
}

// What is registered in a group that is held accepts no work until Release. Nothing else is as in a
// drain.
func TestHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Group
		g.Hold()
		first, second := newRecorder(), newRecorder()
		g.Register(first)
		unregister := g.Register(second)
		gone := newRecorder()
		g.Register(gone)()
		if isClosed(&g) {
			t.Error("the channel of Draining is closed")
		}
		done, err := g.Claiming(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		done()
		if waited, err := g.AwaitEnd(t.Context()); waited || err != nil {
			t.Errorf("a drain is under way: %v, %v", waited, err)
		}
		first.check(t, "quiesce")
		g.Release()
		first.check(t, "quiesce", "resume")
		second.check(t, "quiesce", "resume")
		gone.check(t, "quiesce")
		unregister()
		g.Release() // does nothing
		late := newRecorder()
		g.Register(late)
		first.check(t, "quiesce", "resume")
		second.check(t, "quiesce", "resume")
		late.check(t)
	})
}

// Release of a group that is not held does nothing.
func TestReleaseWithoutHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Group
		r := newRecorder()
		close(r.done)
		g.Register(r)
		g.Release()
		d, err := g.Begin(t.Context(), time.Minute, nil)
		if err != nil {
			t.Fatal(err)
		}
		g.Release()
		r.check(t, "quiesce", "drain")
		d.Resume()
		r.check(t, "quiesce", "drain", "resume")
	})
}

// A drain of a group that is held quiesces nothing twice, and the group is held after it.
func TestDrainWhileHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Group
		g.Hold()
		r := newRecorder()
		close(r.done)
		g.Register(r)
		for range 2 {
			d, err := g.Begin(t.Context(), time.Minute, nil)
			if err != nil {
				t.Fatal(err)
			}
			if !isClosed(&g) {
				t.Error("the channel of Draining is open during a drain")
			}
			d.Seal()
			d.Resume()
		}
		if isClosed(&g) {
			t.Error("the channel of Draining is closed after the drain")
		}
		r.check(t, "quiesce", "drain", "drain")
		g.Release()
		r.check(t, "quiesce", "drain", "drain", "resume")
	})
}

// A group that is released during a drain resumes after it.
func TestReleaseDuringDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Group
		g.Hold()
		r := newRecorder()
		g.Register(r)
		time.AfterFunc(time.Second, g.Release)
		time.AfterFunc(2*time.Second, func() { r.check(t, "quiesce", "drain") })
		time.AfterFunc(3*time.Second, func() { close(r.done) })
		d, err := g.Begin(t.Context(), time.Minute, nil)
		if err != nil {
			t.Fatal(err)
		}
		d.Resume()
		r.check(t, "quiesce", "drain", "resume")
	})
}

// What is registered while a group is released accepts work, whichever comes first.
func TestRegisterDuringRelease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Group
		g.Hold()
		g.Register(slowToResume{})
		released := make(chan struct{})
		go func() {
			g.Release()
			close(released)
		}()
		synctest.Wait()
		r := newRecorder()
		g.Register(r) // while another one resumes
		r.check(t)
		claimed := make(chan struct{})
		go func() { // a claim waits until everything has resumed
			done, err := g.Claiming(t.Context())
			if err != nil {
				t.Error(err)
			}
			done()
			close(claimed)
		}()
		synctest.Wait()
		select {
		case <-claimed:
			t.Error("claimed while another part resumes")
		default:
		}
		<-released
		<-claimed
	})
}

// slowToResume is a Drainer whose Resume takes half a second.
type slowToResume struct{}

func (slowToResume) Quiesce()                    {}
func (slowToResume) Drain(context.Context) error { return nil }
func (slowToResume) Resume()                     { time.Sleep(time.Second / 2) }

// Many parts may be registered while the group is released: each of them accepts work then.
func TestReleaseAndRegister(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for range 50 {
			var g Group
			g.Hold()
			const n = 8
			registered := make(chan *recorder, n)
			for range n {
				go func() {
					r := newRecorder()
					g.Register(r)
					registered <- r
				}()
			}
			g.Release()
			synctest.Wait()
			for range n {
				r := <-registered
				if calls := len(r.calls); calls == 1 || calls == 2 && r.calls[1] != "resume" {
					t.Errorf("called %q", r.calls)
				}
			}
		}
	})
}

// A rollback of a version that is held drains it. If the rollback fails, the version is held again.
func TestRollbackWhileHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Group
		g.Hold()
		r := newRecorder()
		close(r.done)
		g.Register(r)
		_, _, resume := g.BeginRollback()
		resume()
		r.check(t, "quiesce", "drain")
		g.Release()
		r.check(t, "quiesce", "drain", "resume")
	})
}
