package etcdgate

import (
	"context"
	"fmt"
	"time"

	"github.com/autorestart-go/autorestart/contrib/fleet/internal/group"
	"github.com/autorestart-go/autorestart/contrib/fleet/internal/pace"
	"github.com/autorestart-go/autorestart/contrib/fleet/internal/rollout"
)

// read reads the group. A document that can't be read is a finalError.
func (g *Gate) read(ctx context.Context) (*group.Snapshot, error) {
	ctx, cancel := context.WithTimeout(ctx, g.timeout)
	defer cancel()
	s, err := g.group.Read(ctx)
	if _, ok := err.(*group.DocumentError); ok {
		return nil, &finalError{fmt.Errorf("etcdgate: group %s: %w", g.Group, err)}
	}
	return s, err
}

func (g *Gate) write(ctx context.Context, s *group.Snapshot, w group.Write) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, g.timeout)
	defer cancel()
	return g.group.Write(ctx, s, w)
}

// check fails if the group is that of another service. It logs once that the settings of the group differ.
func (g *Gate) check(d *rollout.Document) error {
	if d.Service != g.settings.Service {
		return fmt.Errorf("etcdgate: group %s of service %s; this is service %s", g.Group, d.Service, g.settings.Service)
	}
	if found, own := settingsOf(d), settingsOf(&g.settings); found != own && !g.warned {
		g.warned = true
		g.warn("the settings of the group count, not those of this member; to change them: autorestart-fleet set", "group", g.Group, "found", found, "expected", own)
	}
	return nil
}

func settingsOf(d *rollout.Document) string {
	return fmt.Sprintf("max %d, canaries %d, healthy for %v", d.Max, d.Canaries, d.HealthyFor)
}

// lifeLease returns the lease of this member's key of life.
func (g *Gate) lifeLease(ctx context.Context) (*group.Lease, error) {
	g.mu.Lock()
	life := g.life
	g.mu.Unlock()
	if life != nil && !isClosed(life.Lost) {
		return life, nil
	}
	ctx, cancel := context.WithTimeout(ctx, g.timeout)
	defer cancel()
	life, err := g.group.Keep(g.background.context(), ctx, g.VanishTimeout)
	if err != nil {
		return nil, err
	}
	g.mu.Lock()
	g.life = life
	g.mu.Unlock()
	return life, nil
}

// endLife is called when this member has no slot any more. Its key of life has gone with the slot.
func (g *Gate) endLife() {
	g.mu.Lock()
	life := g.life
	g.life = nil
	g.mu.Unlock()
	if life != nil {
		g.background.briefly(life.End)
	}
}

// giveBackTime is how long Acquire waits until a slot was given back. After that, this goes on in the background.
const giveBackTime = 2 * time.Second

// giveBack has the slot of the member be what it was before the call of Acquire, if that has asked for one.
// It changes the document in any case: a transaction that asks for the slot, and is still under way, then
// fails.
func (a *acquisition) giveBack() {
	if !a.asked {
		return
	}
	a.background.owe(context.Background(), giveBackTime, func(ctx context.Context) {
		var f failure
		for ctx.Err() == nil {
			done, err := a.returnSlot(ctx)
			if done {
				a.answered(&f)
				return
			}
			if err != nil {
				pace.Sleep(ctx, a.failed(ctx, &f, err))
			}
		}
	})
}

func (a *acquisition) returnSlot(ctx context.Context) (bool, error) {
	s, err := a.read(ctx)
	if err != nil || s.Document == nil {
		return s != nil, err
	}
	next := s.Document.KeepEarlier(a.member, a.id.Hash, a.earlier)
	w := group.Write{Next: next, Member: a.member, Remains: next.Holder(a.member) != nil}
	done, err := a.write(ctx, s, w)
	if done && !w.Remains {
		a.endLife()
	}
	return done, err
}
