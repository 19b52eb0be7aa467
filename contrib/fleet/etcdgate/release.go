package etcdgate

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/contrib/fleet/internal/group"
	"github.com/autorestart-go/autorestart/contrib/fleet/internal/pace"
	"github.com/autorestart-go/autorestart/contrib/fleet/internal/rollout"
)

// Release gives the slot back, or keeps it while a canary runs for HealthyFor. It implements
// autorestart.Gate.
//
// Release tries again until ctx ends. With a Deadline, it returns an error at the Deadline, so that it does not
// hold up the next Acquire, and the attempts go on. After a rollback there is no Deadline: no version is executed
// before the group knows which one has failed.
func (g *Gate) Release(ctx context.Context, r autorestart.GateResult) error {
	if err := g.configure(); err != nil {
		return err
	}
	if g.running == "" {
		hash, err := runningHash()
		if err != nil {
			return err
		}
		g.running = hash
	}
	rel := &release{Gate: g, result: r, at: time.Now()}
	if len(r.State) > 0 {
		if err := json.Unmarshal(r.State, &rel.leave); err != nil {
			return errors.New("etcdgate: the state of the restart: " + err.Error())
		}
	}
	g.leave = ""
	if g.Deadline <= 0 || rel.hasFailed() {
		if err := g.background.settle(ctx, 0); err != nil {
			return err
		}
		return rel.run(ctx)
	}
	var err error
	if !g.background.owe(ctx, g.Deadline, func(ctx context.Context) { err = rel.run(ctx) }) {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return fmt.Errorf("etcdgate: no answer of etcd for %v; the attempts go on", g.Deadline)
	}
	return err
}

// hasFailed reports whether the group has to know that a version has failed. A version that was executed
// without a Gate is not known.
func (r *release) hasFailed() bool {
	return r.result.Outcome == autorestart.GateRolledBack && r.leave.Version.Hash != ""
}

// A release is one call of Release.
type release struct {
	*Gate
	result autorestart.GateResult
	leave  leave
	at     time.Time

	asked   bool // a transaction may have succeeded
	failing failure
}

func (r *release) run(ctx context.Context) error {
	for {
		done, err := r.attempt(ctx)
		switch {
		case done && err == nil:
			r.answered(&r.failing)
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err == nil:
			r.answered(&r.failing)
			continue
		}
		if final, ok := errors.AsType[*finalError](err); ok {
			return final.error
		}
		pace.Sleep(ctx, r.failed(ctx, &r.failing, err))
	}
}

func (r *release) attempt(ctx context.Context) (done bool, err error) {
	s, err := r.read(ctx)
	if err != nil {
		return false, err
	}
	d := s.Document
	switch {
	case d == nil && !r.hasFailed():
		return true, nil
	case d == nil:
		d = &r.settings
	}
	if err := r.check(d); err != nil {
		return false, &finalError{err}
	}
	next, isCanary := r.decide(d)
	if h := d.Holder(r.member); h == nil && r.leave.Slot && !r.asked {
		r.warn("the slot of this member was taken away during the restart: a restart takes longer than VanishTimeout, or an operator has taken it",
			"group", r.Group, "outcome", r.result.Outcome.String())
	}
	w := group.Write{Next: next, Member: r.member}
	h := next.Holder(r.member)
	if h != nil {
		if h.Vanishes = r.VanishTimeout > 0; h.Vanishes {
			r.living.Lock()
			defer r.living.Unlock()
			life, err := r.lifeLease(ctx)
			if err != nil {
				return false, err
			}
			w.Lives = life.ID
		}
	}
	if !r.asked && !s.IsAlive(r.member) && w.Lives == 0 && bytes.Equal(next.Bytes(), d.Bytes()) {
		done = true
	} else if done, err = r.write(ctx, s, w); err != nil {
		r.asked = true
		return false, err
	}
	if done {
		r.ended(h != nil, isCanary, time.Duration(d.HealthyFor))
	}
	return done, nil
}

// decide returns what the document becomes.
func (r *release) decide(d *rollout.Document) (next *rollout.Document, isCanary bool) {
	switch {
	case r.hasFailed():
		f := rollout.Failure{Member: r.member, Host: r.host, At: r.at}
		if r.result.Err != nil {
			f.Reason = r.result.Err.Error()
		}
		return d.RolledBack(r.leave.Version, r.running, f)
	case r.result.Outcome == autorestart.GateCalledOff:
		return d.CalledOff(r.member, r.leave.Version.Hash, r.running)
	default:
		return d.Ready(r.member, r.running)
	}
}

// ended is called when the group knows of the outcome.
func (r *release) ended(holds, isCanary bool, healthyFor time.Duration) {
	if !holds {
		r.endLife()
	}
	if r.hasFailed() {
		r.warn("the version was rolled back here; no member of the group executes it any more",
			"group", r.Group, "version", r.leave.Version.Name, "clear", "autorestart-fleet clear "+r.Group+" "+short(r.leave.Version.Hash))
	}
	if isCanary {
		r.observe(r.running, healthyFor)
	}
}

// observe lets a canary run for some time, and then changes the group.
func (g *Gate) observe(running string, healthyFor time.Duration) {
	ctx, cancel := context.WithCancel(g.background.context())
	g.mu.Lock()
	if g.observed != nil {
		g.observed()
	}
	g.observed = cancel
	g.mu.Unlock()
	g.info("this member is a canary: it keeps its slot until it has run the version for some time", "group", g.Group, "duration", healthyFor.String())
	g.background.run(func() {
		defer cancel()
		var f failure
		for pace.Sleep(ctx, healthyFor); ctx.Err() == nil; {
			done, err := g.proved(ctx, running)
			switch {
			case done:
				g.answered(&f)
				g.info("this canary is healthy", "group", g.Group)
				return
			case err != nil:
				pace.Sleep(ctx, g.failed(ctx, &f, err))
			}
		}
	})
}

func (g *Gate) proved(ctx context.Context, running string) (bool, error) {
	s, err := g.read(ctx)
	if err != nil || s.Document == nil {
		return s != nil, err
	}
	next := s.Document.Proved(g.member, running)
	w := group.Write{Next: next, Member: g.member, Remains: next.Holder(g.member) != nil}
	g.living.Lock()
	defer g.living.Unlock()
	done, err := g.write(ctx, s, w)
	if done && !w.Remains {
		g.endLife()
	}
	return done, err
}

// runningHash returns the hash of the image that runs. Its file may have been replaced.
func runningHash() (string, error) {
	name := "/proc/self/exe"
	if runtime.GOOS != "linux" {
		var err error
		if name, err = os.Executable(); err != nil {
			return "", err
		}
	}
	exe, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer exe.Close()
	return hashOf(exe)
}
