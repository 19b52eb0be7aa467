package rollout

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// An ID identifies a version.
type ID struct {
	Hash  string `json:"hash"`  // SHA-256 of the content
	Build string `json:"build"` // the Go build ID
	Name  string `json:"name"`
}

// A Request of a member is for a slot.
type Request struct {
	Member   string
	Host     string
	Version  ID
	Since    time.Time
	Vanishes bool

	// Unexecuted is the hash of the version that the slot is for that the member has, if the member has
	// not executed that; "" otherwise.
	Unexecuted string
}

// A Waiting member is in the queue for a slot.
type Waiting struct {
	Member  string    `json:"member"`
	Host    string    `json:"host"`
	Version ID        `json:"version"`
	Since   time.Time `json:"since"`
}

// A Decision is the answer to a Request.
type Decision struct {
	Next    *Document // with the slot; nil if there is none yet
	Refused *Failure  // the version has failed; nil if it has not
	Reason  string    // why there is no slot

	// KeepsSlot says that the member must not wait, since it has a slot for another version. Others may be
	// waiting for that.
	KeepsSlot bool
}

// Acquire answers a request. The queue has all waiting members in their order, and isAlive says of a
// member whether its key of life is there.
func (d *Document) Acquire(r Request, queue []Waiting, isAlive func(member string) bool) Decision {
	next := d.clone()
	next.Holders = slices.DeleteFunc(next.Holders, func(h Holder) bool { return h.Vanishes && !isAlive(h.Member) })
	h := next.Holder(r.Member)
	no := Decision{KeepsSlot: h != nil && h.State == Restarting}
	if v := next.Versions[r.Version.Hash]; v != nil && v.Failed != nil {
		no.Refused, no.Reason = v.Failed, "the version has failed"
		return no
	}
	// This member gets no slot that a member before it can get.
	reserved, ahead := next.clone(), 0
	for _, w := range queue {
		if w.Member == r.Member {
			break
		}
		if reserved.obstacle(w.Member, w.Version.Hash) == "" {
			reserved.grant(Request{Member: w.Member, Version: w.Version})
			ahead++
		}
	}
	if reason := reserved.obstacle(r.Member, r.Version.Hash); reason != "" {
		if ahead > 0 && next.obstacle(r.Member, r.Version.Hash) == "" {
			reason = fmt.Sprintf("%d members wait longer and can restart now", ahead)
		}
		no.Reason = reason
		return no
	}
	next.grant(r)
	next.prune()
	return Decision{Next: next}
}

// obstacle says why a member can't have a slot for a version now; "" if it can.
func (d *Document) obstacle(member, hash string) string {
	v := d.Versions[hash]
	switch {
	case v != nil && v.Failed != nil:
		return "the version has failed"
	case v != nil && !d.IsProven(v) && !slices.Contains(v.Canaries, member) && len(v.Canaries) >= d.Canaries:
		var missing []string
		for _, canary := range v.Canaries {
			if !slices.Contains(v.Healthy, canary) {
				missing = append(missing, canary)
			}
		}
		return "the version is not proven yet by " + strings.Join(missing, ", ")
	case d.Holder(member) == nil && len(d.Holders) >= d.Max:
		return fmt.Sprintf("%d of %d slots are held", len(d.Holders), d.Max)
	}
	return ""
}

// grant gives a slot, or has the slot that the member has be for another version.
func (d *Document) grant(r Request) {
	hash := r.Version.Hash
	h := Holder{Member: r.Member, Host: r.Host, Version: hash, State: Restarting, Since: r.Since, Vanishes: r.Vanishes}
	i := d.holderIndex(r.Member)
	switch {
	case i < 0:
		d.Holders = append(d.Holders, h)
	case r.Unexecuted == "":
		d.forgetUnexecuted(d.Holders[i], d.Holders[i].Version)
		d.Holders[i] = h
	default:
		had := d.Holders[i]
		h.Unexecuted = had.Unexecuted
		switch {
		case had.Version == hash:
			h.Canary = had.Canary
		case had.Canary:
			h.Unexecuted = append(slices.Clone(had.Unexecuted), had.Version)
		}
		d.Holders[i] = h
	}
	v := d.version(hash)
	if !d.IsProven(v) && !slices.Contains(v.Canaries, r.Member) {
		v.Canaries = append(v.Canaries, r.Member)
		d.Holder(r.Member).Canary = true
	}
	d.Grants++
	v.Build, v.Name, v.Granted = r.Version.Build, r.Version.Name, d.Grants
}
