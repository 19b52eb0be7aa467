package fleetlock

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/autorestart-go/autorestart"
)

// A Gate is the [autorestart.Gate] of one [autorestart.Restarter]. It asks a FleetLock server for leave to
// restart. URL, Group and ID have to be set. Set the fields before the first use. If one of them is wrong,
// the first Acquire returns an error, and the version is rejected.
type Gate struct {
	// URL is the base URL of the server, such as "https://airlock.example.org". The paths of the
	// protocol, /v1/pre-reboot and /v1/steady-state, are below it. A user and a password in URL are
	// sent by basic authentication.
	URL string

	// Group is the group at the server, which has the slots. It consists of letters, digits, dots and
	// hyphens.
	Group string

	// ID is the name of this member, which no other member of the group has. It must be the same
	// after a reboot, and in each version. Function ID of package fleet returns one.
	ID string

	// Client sends the requests, by the certificates and the proxy of its Transport. Its
	// CheckRedirect is not used, because no redirect is followed. If nil, the certificates of the
	// system and [http.ProxyFromEnvironment] count.
	Client *http.Client

	// RetryInterval is the longest pause between two requests while there is no slot, or the server
	// can't be reached. Each pause is random. Its limit begins with one second and doubles up to
	// RetryInterval. If zero, RetryInterval is 30 s.
	RetryInterval time.Duration

	// Deadline is how long the server may be out of reach, in one call of Acquire or Release. If zero, a
	// version waits for the server without limit. Time in which the server answers that there is no slot
	// does not count.
	Deadline time.Duration

	// OnDeadline says what becomes of the new version at the Deadline. If zero, it is Refuse.
	OnDeadline Action

	// Logger receives since when the server can't be reached and why, since when a version waits for a
	// slot, and which slot is kept or can't be released. If nil, the Gate is silent.
	Logger autorestart.Logger

	mu        sync.Mutex // held during Acquire and Release
	server    *server    // nil before the first use
	slot      slot
	releasing *release // in the background; nil if there is none
}

var _ autorestart.Gate = (*Gate)(nil)

// An Action says what becomes of a new version at the [Gate.Deadline].
type Action int

const (
	// Refuse rejects the version for now, which is logged and observed. Then the server is asked
	// again.
	Refuse Action = iota

	// Go lets the restart begin without a slot. Then more members than the group has slots may
	// restart at the same time.
	Go
)

// A slot says whether this member holds a slot, as far as this process knows.
type slot int

const (
	free   slot = iota
	locked      // for a restart that has leave
	kept        // after a rollback, until a version is ready
)

// A state crosses the exec, between versions with different releases of this package, too.
type state struct {
	identity
	Locked bool `json:"locked"` // false: the server could not be reached, and OnDeadline is Go
}

// Acquire locks a slot. It implements [autorestart.Gate].
func (g *Gate) Acquire(ctx context.Context, c autorestart.Change, _ *os.File) ([]byte, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.prepare(); err != nil {
		return nil, err
	}
	w := wait{Gate: g, from: identity{g.ID, g.Group}}
	w.maybe = g.endRelease(w.from)
	isLocked, err := w.lock(ctx, c)
	if err != nil {
		if w.maybe && g.slot == free {
			g.giveBack(w.from)
		}
		return nil, err
	}
	if isLocked && g.slot == free {
		g.slot = locked
	}
	return json.Marshal(state{w.from, isLocked})
}

// Release releases the slot, unless the new version was rolled back. It implements [autorestart.Gate].
//
// Release tries again until ctx ends. With a Deadline, it returns an error at the Deadline, so that
// it does not hold up the next Acquire. The attempts go on until then.
func (g *Gate) Release(ctx context.Context, r autorestart.GateResult) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.prepare(); err != nil {
		return err
	}
	s := state{identity{g.ID, g.Group}, true}
	if crossed := (state{}); json.Unmarshal(r.State, &crossed) == nil && crossed.check() == nil {
		s = crossed // the ID and the group that the version before had may be others
	}
	g.endRelease(s.identity)
	switch {
	case r.Outcome == autorestart.GateRolledBack && s.Locked:
		g.slot = kept
		g.warn("slot kept after a rollback; deploy another version", "reason", r.Err)
		return nil
	case r.Outcome == autorestart.GateRolledBack, r.Outcome == autorestart.GateCalledOff && g.slot == kept:
		return nil
	}
	return g.release(ctx, s.identity)
}

// prepare makes the server at the first use.
func (g *Gate) prepare() error {
	if g.server != nil {
		return nil
	}
	if err := (identity{g.ID, g.Group}).check(); err != nil {
		return err
	}
	s, err := newServer(g.URL, g.Client)
	if err != nil {
		return err
	}
	g.server = s
	return nil
}
