package sockets

import (
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
