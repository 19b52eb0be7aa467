package fleetlock_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/contrib/fleet/fleetlock"
)

func TestMembersTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, 1)
		first, second := b.gate("first"), b.gate("second")
		state := b.acquire(first, time.Second)
		b.wantHolding(group, "first")
		go func() {
			time.Sleep(time.Hour)
			b.wantHolding(group, "first")
			b.release(first, autorestart.GateReady, state)
		}()
		b.acquire(second, time.Hour+31*time.Second)
		b.wantHolding(group, "second")
		waiting := b.log.with("waiting for a slot; this version serves on url=http://fleetlock.test group=web since=")
		if n := len(waiting); n == 0 || n > 10 || !strings.Contains(waiting[0], " reason=failed_lock: all 1 semaphore slots currently locked") {
			t.Errorf("lines of an hour's wait: %q", waiting)
		}
		if len(b.log.with("slot locked ")) != 1 {
			t.Errorf("no line says that the wait is over:\n%v", &b.log)
		}
	})
}

// N members that roll back stop a version by themselves, and the fixed version needs no operator.
func TestRollbackKeepsSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, 2)
		third := b.gate("c")
		failed := map[string]*fleetlock.Gate{}
		for _, id := range []string{"a", "b"} {
			state := b.acquire(b.gate(id), time.Second)
			failed[id] = b.gate(id) // that of the image to which the process has rolled back
			result := autorestart.GateResult{Outcome: autorestart.GateRolledBack, State: state, Err: errors.New("not ready")}
			if err := failed[id].Release(t.Context(), result); err != nil {
				t.Fatal(err)
			}
		}
		b.wantWaits(third, time.Hour)
		b.wantHolding(group, "a", "b")
		kept := b.log.with("slot kept after a rollback; deploy another version url=")
		if len(kept) != 2 || !strings.HasSuffix(kept[0], " reason=not ready") {
			t.Errorf("lines about kept slots: %q", kept)
		}

		state := b.acquire(failed["a"], time.Second) // the fixed version
		b.wantHolding(group, "a", "b")
		b.release(failed["a"], autorestart.GateCalledOff, state)
		b.wantHolding(group, "a", "b") // the version that runs is still the one before the rollback
		b.wantWaits(failed["a"], 0)
		b.wantHolding(group, "a", "b")
		state = b.acquire(failed["a"], time.Second)
		b.release(b.gate("a"), autorestart.GateReady, state)
		b.wantHolding(group, "b")
		b.acquire(third, time.Minute)
	})
}

func TestRestartThatIsCalledOffReleasesSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, 1)
		g := b.gate("a")
		b.release(g, autorestart.GateCalledOff, b.acquire(g, time.Second))
		b.wantHolding(group)
	})
}

// A process that was started afresh releases what an earlier process has locked or kept.
func TestFreshProcessReleasesSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, 1)
		b.acquire(b.gate("a"), time.Second)
		b.release(b.gate("a"), autorestart.GateReady, nil)
		b.wantHolding(group)
	})
}

// The slot is that of the version before, whatever ID and group the new version has.
func TestStateNamesSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, 1)
		state := b.acquire(b.gate("old"), time.Second)
		renamed := b.gate("new")
		renamed.Group = "other"
		b.release(renamed, autorestart.GateReady, state)
		b.wantHolding(group)
		for _, foreign := range []string{"", "x", `{}`, `{"id":"old"}`, `{"id":"","group":"web"}`, `[1]`} {
			b.took()
			b.release(b.gate("a"), autorestart.GateReady, []byte(foreign))
			b.wantTook("steady-state a")
		}
	})
}

// An earlier leave holds when a further Acquire fails.
func TestEarlierLeaveHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, 1)
		g := b.gate("a")
		state := b.acquire(g, time.Second)
		b.become(networkState{lose: true})
		b.wantWaits(g, time.Hour)
		b.become(networkState{})
		b.wantHolding(group, "a")
		b.release(g, autorestart.GateCalledOff, state)
		b.wantHolding(group)
	})
}

func TestServerThatRejectsGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, 1)
		g := b.gate("a")
		g.Group = "nosuch"
		_, err := b.try(g, time.Hour)
		rejected, ok := errors.AsType[*autorestart.RejectedError](err)
		if !ok || rejected.Retryable || rejected.Path != change.Path {
			t.Fatalf("Acquire: %v, want a rejection that is not retryable", err)
		}
		const want = "autorestart: /usr/bin/web: found a FleetLock server that gives this member no slot " +
			`(unknown_group: unknown group "nosuch"), expected a slot of group nosuch`
		if err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
		b.wantTook("pre-reboot a")
		err = g.Release(t.Context(), autorestart.GateResult{Outcome: autorestart.GateReady})
		const wantRelease = `fleetlock: the server does not release a slot of this member (unknown_group: unknown group "nosuch")`
		if err == nil || err.Error() != wantRelease {
			t.Errorf("Release: %v, want %s", err, wantRelease)
		}
	})
}

// A server for Kubernetes has one slot, and answers steady-state with an error while another member holds it.
func TestServerWithOneLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, 1)
		b.acquire(b.gate("a"), time.Second)
		b.meddleBy(func(w http.ResponseWriter) bool {
			describe(w, http.StatusLocked, "lock_held", "reboot lease unlock unavailable, held by a")
			return true
		})
		b.release(b.gate("b"), autorestart.GateReady, nil)
		b.wantWaits(b.gate("b"), time.Hour)
	})
}

func TestWrongFields(t *testing.T) {
	const wrongURL = "fleetlock: the field URL is not the http or https URL of a server"
	for name, tt := range map[string]struct {
		change func(*fleetlock.Gate)
		want   string
	}{
		"no ID":          {func(g *fleetlock.Gate) { g.ID = "" }, "fleetlock: the field ID is empty; fleet.ID makes one"},
		"no group":       {func(g *fleetlock.Gate) { g.Group = "" }, `fleetlock: the field Group is ""; expected letters, digits, dots and hyphens`},
		"group":          {func(g *fleetlock.Gate) { g.Group = "a/b" }, `fleetlock: the field Group is "a/b"; expected letters, digits, dots and hyphens`},
		"no URL":         {func(g *fleetlock.Gate) { g.URL = "" }, wrongURL},
		"no scheme":      {func(g *fleetlock.Gate) { g.URL = "user:secret@host" }, wrongURL},
		"another scheme": {func(g *fleetlock.Gate) { g.URL = "ftp://host" }, wrongURL},
		"port":           {func(g *fleetlock.Gate) { g.URL = "http://user:se#cret@host" }, wrongURL},
	} {
		t.Run(name, func(t *testing.T) {
			g := &fleetlock.Gate{URL: "http://host", Group: group, ID: "a"}
			tt.change(g)
			if _, err := g.Acquire(t.Context(), change, nil); err == nil || err.Error() != tt.want {
				t.Errorf("Acquire: %v, want %s", err, tt.want)
			}
			if err := g.Release(context.Background(), autorestart.GateResult{Outcome: autorestart.GateReady}); err == nil || err.Error() != tt.want {
				t.Errorf("Release: %v, want %s", err, tt.want)
			}
		})
	}
}
