package sockets

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestWaitAtGateEndsAtNewDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{arm: func(time.Time) error { return nil }}
		g.hold()
		start := time.Now()
		g.setDeadline(start.Add(time.Second))
		entered := make(chan time.Duration)
		go func() {
			g.enter()
			entered <- time.Since(start)
		}()
		time.Sleep(time.Second / 2)
		g.setDeadline(start.Add(3 * time.Second))
		if after := <-entered; after != 3*time.Second {
			t.Errorf("waited for %v", after)
		}
	})
}

func TestHoldAndWaitWaitsForCallersInside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{arm: func(time.Time) error { return nil }}
		took := func() time.Duration {
			start := time.Now()
			g.holdAndWait()
			return time.Since(start)
		}
		epoch := g.enter()
		time.AfterFunc(emptyTimeout/2, func() {
			g.mu.Lock()
			defer g.mu.Unlock()
			g.leave(epoch, nil)
		})
		if d := took(); d != emptyTimeout/2 {
			t.Errorf("returned after %v, but a caller was inside for %v", d, emptyTimeout/2)
		}
		g.mu.Lock()
		g.release()
		g.mu.Unlock()
		g.enter()
		if d := took(); d != emptyTimeout {
			t.Errorf("waited for %v for a caller that stays inside, expected %v", d, emptyTimeout)
		}
	})
}

// A Drainer whose Quiesce takes a second is logged as one that does not return.
func TestHoldAndWaitReturnsWithinASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{arm: func(time.Time) error { return nil }}
		g.enter()
		start := time.Now()
		g.holdAndWait()
		if took := time.Since(start); took >= time.Second {
			t.Errorf("took %v while a caller stays inside", took)
		}
	})
}

// TestWaitGoesOn: a caller that wakes up when the gate is held again has never stopped
// waiting. A drain may have counted on it in between.
func TestWaitGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var waits []bool
		g := gate{
			arm:    func(time.Time) error { return nil },
			onWait: func(w bool) { waits = append(waits, w) },
		}
		g.mu.Lock()
		g.hold()
		g.mu.Unlock()
		entered := make(chan struct{})
		go func() {
			g.enter()
			close(entered)
		}()
		synctest.Wait()
		g.mu.Lock()
		g.release()
		g.hold()
		g.mu.Unlock()
		synctest.Wait()
		if !slices.Equal(waits, []bool{true}) {
			t.Errorf("waits: %v, want true alone", waits)
		}
		g.mu.Lock()
		g.release()
		g.mu.Unlock()
		<-entered
		if !slices.Equal(waits, []bool{true, false}) {
			t.Errorf("waits: %v, want true and false", waits)
		}
	})
}
