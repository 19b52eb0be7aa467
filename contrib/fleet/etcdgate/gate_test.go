//go:build linux

package etcdgate

import (
	"testing"
	"time"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/contrib/fleet/internal/etcdtest"
)

// One slot, three members: the second and the third get it in their order.
func TestSlotsAreGivenInOrder(t *testing.T) {
	t.Parallel()
	f := newFleet(t, etcdtest.Start(t, 1), &Gate{})
	state := f.acquire(f.image("a"), "v1")
	b := f.ask(f.image("b"), "v1")
	f.waitUntilQueued("b")
	c := f.ask(f.image("c"), "v1")
	f.waitUntilQueued("c")
	f.wantHolders("a")

	f.release(f.image("a"), autorestart.GateReady, state, "v1")
	state = f.want(b)
	f.wantHolders("b")
	f.release(f.image("b"), autorestart.GateReady, state, "v1")
	state = f.want(c)
	f.release(f.image("c"), autorestart.GateReady, state, "v1")
	f.wantHolders("")
	if s := f.snapshot(); len(s.Queue) != 0 {
		t.Errorf("%+v wait", s.Queue)
	}
}

// A version that was rolled back is refused by all members until it is cleared, and then taken by itself.
func TestFailedVersionIsRefusedUntilCleared(t *testing.T) {
	t.Parallel()
	f := newFleet(t, etcdtest.Start(t, 1), &Gate{})
	a, b := f.image("a"), f.image("b")
	state := f.acquire(a, "bad")
	waiting := f.ask(b, "bad")
	f.waitUntilQueued("b")
	f.release(f.image("a"), autorestart.GateRolledBack, state, "v1")
	f.wantRejected(waiting, "was rolled back on", true)
	f.wantRejected(f.ask(f.image("c"), "bad"), "it was not ready in time", true)
	f.wantHolders("")

	again := f.ask(b, "bad")
	f.waitUntilQueued("b")
	fixed := f.acquire(f.image("c"), "v2")
	f.release(f.image("c"), autorestart.GateReady, fixed, "v2")
	s := f.snapshot()
	next, err := s.Document.Clear("bad")
	if err != nil {
		t.Fatal(err)
	}
	f.write(s, next)
	f.release(f.image("b"), autorestart.GateReady, f.want(again), "bad")
}

// One canary has to run the version before any other member executes it.
func TestCanariesComeFirst(t *testing.T) {
	t.Parallel()
	f := newFleet(t, etcdtest.Start(t, 1), &Gate{Max: 3, Canaries: 1, HealthyFor: 100 * time.Millisecond})
	state := f.acquire(f.image("a"), "v1")
	b := f.ask(f.image("b"), "v1")
	f.waitUntilQueued("b")
	began := time.Now()
	f.release(f.image("a"), autorestart.GateReady, state, "v1")
	f.release(f.image("b"), autorestart.GateReady, f.want(b), "v1")
	if d := time.Since(began); d < 100*time.Millisecond {
		t.Errorf("the canary has proven the version after %v", d)
	}
	f.wantHolders("")
	if _, hash := f.version("v1"); !f.document().Versions[hash].Proven {
		t.Errorf("not proven: %s", f.document().Bytes())
	}
}
