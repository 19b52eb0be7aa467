package fleetlock_test

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/autorestart-go/autorestart"
)

// The server locks a slot and the answer is lost. The next request finds out.
func TestLostAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, 1)
		b.become(networkState{lose: true})
		time.AfterFunc(5*time.Second, func() { b.become(networkState{}) })
		g := b.gate("a")
		state := b.acquire(g, time.Minute)
		b.wantTook("pre-reboot a", "pre-reboot a")
		b.release(g, autorestart.GateReady, state)
		b.wantHolding(group)
	})
}

// No slot stays locked when ctx ends, wherever the request is at that time.
func TestEndOfContextGivesSlotBack(t *testing.T) {
	for name, tt := range map[string]struct {
		prepare func(*bubble)
		want    []string // that the server takes
	}{
		"before the server acts": {func(b *bubble) { b.become(networkState{delay: 2 * time.Second}) }, []string{"pre-reboot a", "steady-state a"}},
		"before the answer is read": {func(b *bubble) {
			b.meddleBy(func(http.ResponseWriter) bool { time.Sleep(2 * time.Second); return false })
		}, []string{"pre-reboot a", "steady-state a"}},
		"after the answer was lost": {func(b *bubble) {
			b.become(networkState{lose: true})
			time.AfterFunc(5*time.Second, func() { b.become(networkState{}) })
		}, []string{"pre-reboot a", "steady-state a"}},
		"before there is a connection": {func(b *bubble) { b.become(networkState{down: true}) }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBubble(t, 1)
				tt.prepare(b)
				begun := time.Now()
				b.wantWaits(b.gate("a"), time.Second)
				if took := time.Since(begun); took > 3*time.Second {
					t.Errorf("Acquire returned %v after the end of its context", took-time.Second)
				}
				time.Sleep(time.Minute)
				b.wantTook(tt.want...)
				b.wantHolding(group)
			})
		})
	}
}

// A further Acquire ends a release that is still tried, and has the slot.
func TestAcquireWhileSlotIsGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, 1)
		g := b.gate("a")
		b.become(networkState{lose: true})
		b.wantWaits(g, time.Second)
		time.Sleep(time.Minute)
		b.become(networkState{})
		b.acquire(g, 20*time.Second)
		b.wantHolding(group, "a")
		time.Sleep(time.Hour)
		b.wantHolding(group, "a")
	})
}

// A slot that can't be given back is logged, and given back later.
func TestSlotThatCannotBeGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, 1)
		b.become(networkState{lose: true})
		g := b.gate("a")
		g.RetryInterval = 2 * time.Minute
		b.wantWaits(g, time.Second)
		b.become(networkState{down: true})
		time.Sleep(24 * time.Hour)
		if n := len(b.log.with("slot can't be released; trying again url=")); n == 0 || n > 35 {
			t.Errorf("%d lines in a day:\n%v", n, &b.log)
		}
		b.become(networkState{})
		time.Sleep(2 * time.Minute)
		b.wantHolding(group)
	})
}

// Release tries again until its context ends.
func TestReleaseRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, 1)
		g := b.gate("a")
		state := b.acquire(g, time.Second)
		b.become(networkState{down: true})
		time.AfterFunc(time.Hour, func() { b.become(networkState{}) })
		b.release(g, autorestart.GateReady, state)
		b.wantHolding(group)
		if n := len(b.log.with("slot can't be released; trying again ")); n == 0 || n > 10 {
			t.Errorf("%d lines in an hour:\n%v", n, &b.log)
		}
		if len(b.log.with("slot released ")) != 1 {
			t.Errorf("no line says that the slot is released:\n%v", &b.log)
		}
	})
}

// A request to release that has lost a race is sent again, and not logged.
func TestReleaseThatLosesRace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, 1)
		b.meddleBy(func(w http.ResponseWriter) bool {
			b.meddleBy(nil)
			describe(w, http.StatusInternalServerError, "failed_lock", "conflict on semaphore detected, aborting")
			return true
		})
		b.release(b.gate("a"), autorestart.GateReady, nil)
		b.wantTook("steady-state a", "steady-state a")
		if log := b.log.String(); log != "" {
			t.Errorf("the log is\n%s", log)
		}
	})
}

// With a Deadline, Release does not hold up the next Acquire, and the slot is released later.
func TestReleaseWithDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, 1)
		g := b.gate("a")
		g.Deadline = time.Minute
		b.acquire(g, time.Second)
		b.become(networkState{down: true})
		begun := time.Now()
		err := g.Release(t.Context(), autorestart.GateResult{Outcome: autorestart.GateReady})
		if took := time.Since(begun); err == nil || err.Error() != "fleetlock: slot not released within 1m0s; the attempts go on" || took != time.Minute {
			t.Errorf("Release: %v after %v", err, took)
		}
		b.wantWaits(g, time.Second) // a version that comes and goes
		time.Sleep(time.Hour)
		b.wantHolding(group, "a")
		b.become(networkState{})
		time.Sleep(time.Minute)
		b.wantHolding(group)
	})
}

// The slot of an ID that the version before had is released, also if a further version comes first.
func TestReleaseOfEarlierID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, 2)
		state := b.acquire(b.gate("old"), time.Second)
		b.become(networkState{down: true})
		g := b.gate("new")
		g.Deadline = time.Minute
		if err := g.Release(t.Context(), autorestart.GateResult{Outcome: autorestart.GateReady, State: state}); err == nil {
			t.Error("Release returned no error")
		}
		b.become(networkState{})
		b.acquire(g, time.Minute)
		time.Sleep(time.Minute)
		b.wantHolding(group, "new")
	})
}

// The next request waits for the one before, so that the server can't act on them in another order.
func TestRequestsAreInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, 1)
		g := b.gate("a")
		b.become(networkState{delay: 4 * time.Second})
		b.wantWaits(g, time.Second) // the request to give back waits, too
		b.become(networkState{})
		b.acquire(g, 5*time.Second)
		time.Sleep(time.Minute)
		b.wantHolding(group, "a")
		took := b.took()
		if took[0] != "pre-reboot a" || took[len(took)-1] != "pre-reboot a" {
			t.Errorf("the server took %q", took)
		}
	})
}
