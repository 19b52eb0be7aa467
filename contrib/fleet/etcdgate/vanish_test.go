//go:build linux

package etcdgate

import (
	"testing"
	"time"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/contrib/fleet/internal/etcdtest"
)

// A process that ends while it holds a slot keeps it. The next process of the member gives it back, if it is
// ready, whichever version it runs.
func TestVanishedMemberKeepsItsSlot(t *testing.T) {
	t.Parallel()
	for name, running := range map[string]string{"new version": "v1", "another version": "v0"} {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t, etcdtest.Start(t, 1), &Gate{WaitTTL: time.Second})
			f.acquire(f.image("a"), "v1")
			b := f.ask(f.image("b"), "v1")
			f.waitUntilQueued("b")
			f.release(f.image("c"), autorestart.GateReady, nil, "v0") // has nothing to do with it
			f.wantHolders("a")
			f.release(f.image("a"), autorestart.GateReady, nil, running)
			f.want(b)
		})
	}
}

// With a VanishTimeout the others take the slot of a process that has ended. If the member lives, it finds
// out when its restart has ended.
func TestSlotOfVanishedMemberIsTaken(t *testing.T) {
	t.Parallel()
	f := newFleet(t, etcdtest.Start(t, 1), &Gate{VanishTimeout: time.Second, WaitTTL: time.Minute})
	a := f.image("a")
	state := f.acquire(a, "v1")
	b := f.ask(f.image("b"), "v1")
	f.waitUntilQueued("b")
	a.Close() // no sign of life comes any more, as during an exec
	f.want(b)
	f.wantHolders("b")

	f.release(f.image("a"), autorestart.GateReady, state, "v1") // it was late
	if !f.log.has("the slot of this member was taken away during the restart") {
		t.Errorf("got\n%s", f.log.String())
	}
	f.wantHolders("b")
}

// The failure of a version is known also if the member has lost its slot before.
func TestLateMemberRollsBack(t *testing.T) {
	t.Parallel()
	f := newFleet(t, etcdtest.Start(t, 1), &Gate{VanishTimeout: time.Second})
	a := f.image("a")
	state := f.acquire(a, "bad")
	a.Close()
	f.acquire(f.image("b"), "v1")
	f.release(f.image("a"), autorestart.GateRolledBack, state, "v0")
	f.wantRejected(f.ask(f.image("c"), "bad"), "rolled back", true)
	f.wantHolders("b")
}

// A canary that lives keeps its slot for longer than the VanishTimeout, while it is observed.
func TestCanaryLives(t *testing.T) {
	t.Parallel()
	f := newFleet(t, etcdtest.Start(t, 1), &Gate{VanishTimeout: time.Second, Canaries: 1, HealthyFor: 5 * time.Second})
	state := f.acquire(f.image("a"), "v1")
	b := f.ask(f.image("b"), "v1")
	f.waitUntilQueued("b")
	f.release(f.image("a"), autorestart.GateReady, state, "v1")
	f.want(b)
	_, hash := f.version("v1")
	if v := f.document().Versions[hash]; !v.Proven {
		t.Errorf("the slot was taken from the canary: %+v", v)
	}
}

// A canary that ends before it has run the version for long enough begins again.
func TestCanaryThatEndsBeginsAgain(t *testing.T) {
	t.Parallel()
	f := newFleet(t, etcdtest.Start(t, 1), &Gate{Max: 2, Canaries: 1, HealthyFor: time.Hour})
	first := f.image("a")
	f.release(first, autorestart.GateReady, f.acquire(first, "v1"), "v1")
	b := f.ask(f.image("b"), "v1")
	f.waitUntilQueued("b")
	first.Close()
	f.wantHolders("a")

	s := f.snapshot()
	next := *s.Document
	next.HealthyFor = 0
	f.write(s, &next)
	f.release(f.image("a"), autorestart.GateReady, nil, "v1")
	f.want(b)
}
