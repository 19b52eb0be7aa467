package etcdgate

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/contrib/fleet/internal/group"
	"github.com/autorestart-go/autorestart/contrib/fleet/internal/pace"
	"github.com/autorestart-go/autorestart/contrib/fleet/internal/rollout"
)

// A leave is the state that crosses the exec.
type leave struct {
	Version rollout.ID `json:"version"`
	Slot    bool       `json:"slot"` // false: the restart began without leave, see Go
}

// Acquire waits for a slot of the group. It implements autorestart.Gate.
func (g *Gate) Acquire(ctx context.Context, c autorestart.Change, exe *os.File) (state []byte, err error) {
	if err := g.configure(); err != nil {
		return nil, err
	}
	id, err := versionOf(exe, c.New)
	if err != nil {
		return nil, err
	}
	a := &acquisition{Gate: g, path: c.Path, id: id, since: time.Now()}
	switch err := g.background.settle(ctx, g.Deadline); err {
	case nil:
		return a.run(ctx)
	case errOwed:
		return a.afterDeadline(ctx, err)
	default:
		return nil, err
	}
}

// An acquisition is one call of Acquire.
type acquisition struct {
	*Gate
	path  string
	id    rollout.ID
	since time.Time

	place   *group.Lease    // of the key in the queue; nil while there is none
	asked   bool            // a transaction may have given a slot
	earlier *rollout.Holder // the slot before that
	waits   bool            // it was logged that it waits
	failing failure

	unwatched int // how often the watch has failed, since it has last worked
}

func (a *acquisition) run(ctx context.Context) (state []byte, err error) {
	defer func() {
		a.leaveQueue()
		if state == nil && a.earlier == nil && !a.asked {
			a.endLife()
		}
	}()
	for {
		state, err := a.attempt(ctx)
		switch {
		case ctx.Err() != nil:
			a.giveBack()
			return nil, context.Cause(ctx)
		case err == nil:
			a.answered(&a.failing)
			if state != nil {
				return state, nil
			}
			continue
		}
		if final, ok := errors.AsType[*finalError](err); ok {
			a.giveBack()
			return nil, final.error
		}
		if state, err = a.afterFailure(ctx, err); state != nil || err != nil {
			return state, err
		}
	}
}

// A finalError is the result of Acquire.
type finalError struct{ error }

// attempt returns a state if the member has got a slot. It returns nil if it has to be called again. Any
// error but a finalError is one of etcd.
func (a *acquisition) attempt(ctx context.Context) (state []byte, err error) {
	s, err := a.read(ctx)
	if err != nil {
		return nil, err
	}
	if s.Document == nil {
		_, err := a.write(ctx, s, group.Write{Next: &a.settings, Member: a.member, Remains: true})
		return nil, err
	}
	if err := a.check(s.Document); err != nil {
		return nil, &finalError{a.rejected(err.Error(), "a group of its own for each service", false)}
	}
	unexecuted := a.leave
	if h := s.Document.Holder(a.member); a.asked && h != nil && h.Version == a.id.Hash {
		unexecuted = a.id.Hash // the answer was lost
	} else {
		a.earlier = h
	}
	d := s.Document.Acquire(rollout.Request{
		Member: a.member, Host: a.host, Version: a.id, Since: a.since, Vanishes: a.VanishTimeout > 0, Unexecuted: unexecuted,
	}, s.Queue, s.IsAlive)
	switch {
	case d.Next != nil:
		return a.take(ctx, s, d.Next)
	case d.Refused != nil && (d.KeepsSlot || a.firstRejection()):
		return nil, &finalError{a.rejected(rejectionOf(d.Refused), "another version, or autorestart-fleet clear "+a.Group+" "+short(a.id.Hash), true)}
	case d.KeepsSlot:
		return nil, &finalError{a.rejected("a version that can't have the slot of this member now: "+d.Reason, "a slot of group "+a.Group, true)}
	}
	return nil, a.wait(ctx, s, d)
}

// take writes the document in which the member has a slot.
func (a *acquisition) take(ctx context.Context, s *group.Snapshot, next *rollout.Document) ([]byte, error) {
	w := group.Write{Next: next, Member: a.member, Leaves: s.IsQueued(a.member)}
	if a.VanishTimeout > 0 {
		a.living.Lock()
		defer a.living.Unlock()
		life, err := a.lifeLease(ctx)
		if err != nil {
			return nil, err
		}
		w.Lives = life.ID
	}
	if a.beforeGrant != nil {
		a.beforeGrant()
	}
	done, err := a.write(ctx, s, w)
	if err != nil || done {
		a.asked = true
	}
	if err != nil || !done || ctx.Err() != nil {
		return nil, err
	}
	a.leave = a.id.Hash
	delete(a.refused, a.id.Hash)
	a.info("leave to restart", "group", a.Group, "version", a.id.Name)
	return json.Marshal(leave{Version: a.id, Slot: true})
}

// wait waits in the queue until something has changed.
func (a *acquisition) wait(ctx context.Context, s *group.Snapshot, d rollout.Decision) error {
	if !a.waits {
		a.waits = true
		a.info("waiting for leave to restart", "group", a.Group, "version", a.id.Name, "reason", d.Reason)
	}
	if a.place != nil && isClosed(a.place.Lost) || !s.IsQueued(a.member) {
		a.leaveQueue()
	}
	if a.place == nil {
		return a.enterQueue(ctx)
	}
	a.answered(&a.failing)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	lost := a.place.Lost
	go func() { // the watch does not notice a node that does not answer any more
		select {
		case <-lost:
			cancel()
		case <-ctx.Done():
		}
	}()
	err := a.group.Await(ctx, s)
	if err == nil || isClosed(lost) {
		a.unwatched = 0
		return nil
	}
	a.watchFailed(ctx, err)
	return nil
}

// watchFailed is called when etcd can't be watched. It need not be out of reach: so it is asked again, after a
// pause.
func (a *acquisition) watchFailed(ctx context.Context, err error) {
	if a.unwatched++; a.unwatched == unwatchedBefore && ctx.Err() == nil {
		a.warn("etcd can't be watched; it is asked at intervals", "group", a.Group, "reason", err)
	}
	pace.Sleep(ctx, pauseAfter(a.unwatched-1))
}

// unwatchedBefore is how often a watch fails until that is logged. After an election, it fails once.
const unwatchedBefore = 5

// enterQueue also takes over the place that an earlier process of the member has left.
func (a *acquisition) enterQueue(ctx context.Context) error {
	request, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	place, err := a.group.Keep(ctx, request, cmp.Or(a.WaitTTL, waitTTL))
	if err != nil {
		return err
	}
	a.place = place
	return a.group.Enqueue(request, rollout.Waiting{Member: a.member, Host: a.host, Version: a.id, Since: a.since}, place.ID)
}

func (a *acquisition) leaveQueue() {
	if place := a.place; place != nil {
		a.place = nil
		a.background.briefly(place.End)
	}
}

// afterFailure is called after an error of etcd. It returns a state or an error after the Deadline, or when
// ctx has ended, and else nil after a pause.
func (a *acquisition) afterFailure(ctx context.Context, err error) ([]byte, error) {
	pause := a.failed(ctx, &a.failing, err)
	late := a.Deadline > 0 && time.Since(a.failing.since)+pause >= a.Deadline
	if late {
		pause = max(0, a.Deadline-time.Since(a.failing.since))
	}
	if pace.Sleep(ctx, pause); ctx.Err() != nil {
		a.giveBack()
		return nil, context.Cause(ctx)
	}
	if !late {
		return nil, nil
	}
	return a.afterDeadline(ctx, err)
}

// afterDeadline is called when etcd has not answered until the Deadline.
func (a *acquisition) afterDeadline(ctx context.Context, err error) ([]byte, error) {
	if a.OnDeadline == Go && !a.refused[a.id.Hash] {
		a.warn("etcd does not answer; the restart begins without leave", "group", a.Group, "version", a.id.Name, "reason", a.group.Explain(ctx, err))
		a.leave = a.id.Hash
		return json.Marshal(leave{Version: a.id})
	}
	a.giveBack()
	return nil, a.rejected(fmt.Sprintf("no answer of etcd for %v (%v)", a.Deadline, a.group.Explain(ctx, err)), "a slot of group "+a.Group, true)
}

// firstRejection reports whether the rejection of the version was not returned yet. The first one is returned,
// so that it is reported. Then the version waits until it is cleared.
func (a *acquisition) firstRejection() bool {
	first := !a.refused[a.id.Hash]
	a.refused[a.id.Hash] = true
	return first
}

func (a *acquisition) rejected(found, expected string, retryable bool) error {
	return &autorestart.RejectedError{Path: a.path, Found: found, Expected: expected, Retryable: retryable}
}

// rejectionOf says why a version is refused.
func rejectionOf(f *rollout.Failure) string {
	where := f.Member
	if f.Host != "" {
		where = f.Host + " (" + f.Member + ")"
	}
	return fmt.Sprintf("a version that was rolled back on %s at %s: %s", where, f.At.Format(time.RFC3339), f.Reason)
}

// shortHash is how much of a hash is shown.
const shortHash = 12

func short(hash string) string { return hash[:min(len(hash), shortHash)] }
