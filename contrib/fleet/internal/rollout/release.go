package rollout

import (
	"slices"
	"strings"
)

// Ready is for a member that runs a version, and is ready. The slot is given back, unless the member is a
// canary that has to run for HealthyFor; then isCanary is true, and [Document.Proved] follows after that
// time. A canary whose slot is gone has to do so, too.
func (d *Document) Ready(member, running string) (next *Document, isCanary bool) {
	next = d.clone()
	return next, next.runs(member, running)
}

// runs is for a member that goes on running a version. It reports whether the member has to do so for
// HealthyFor.
func (d *Document) runs(member, running string) (isCanary bool) {
	isCanary = d.isUnprovenCanary(member, running)
	switch h := d.Holder(member); {
	case isCanary && d.HealthyFor <= 0:
		d.proved(member, running)
		d.endSlot(member, running)
		return false
	case isCanary && h != nil:
		d.forgetUnexecuted(*h, running)
		h.Version, h.State, h.Canary, h.Unexecuted = running, Observed, false, nil
	default:
		d.endSlot(member, running)
	}
	return isCanary
}

// isUnprovenCanary reports whether a member is one of the canaries that decide whether a version is proven, and
// has not done so.
func (d *Document) isUnprovenCanary(member, hash string) bool {
	v := d.Versions[hash]
	return v != nil && v.Failed == nil && !d.IsProven(v) &&
		slices.Contains(v.Canaries, member) && !slices.Contains(v.Healthy, member)
}

// Proved is for a canary that has run a version for HealthyFor. It gives the slot back, unless the member
// has it for another restart by now, which may be into the same version.
func (d *Document) Proved(member, running string) *Document {
	next := d.clone()
	next.proved(member, running)
	if h := next.Holder(member); h != nil && h.Version == running && h.State == Observed {
		next.endSlot(member, running)
	}
	return next
}

func (d *Document) proved(member, running string) {
	if d.isUnprovenCanary(member, running) {
		v := d.Versions[running]
		v.Healthy = append(v.Healthy, member)
		v.Proven = d.IsProven(v)
	}
}

// RolledBack is for a member on which a version was executed and rolled back, and that runs the one before
// again. No member gets a slot for the version any more. The rest is as with Ready.
func (d *Document) RolledBack(version ID, running string, f Failure) (next *Document, isCanary bool) {
	next = d.clone()
	v := next.version(version.Hash)
	v.Build, v.Name, v.Proven = version.Build, version.Name, false
	if v.Failed == nil {
		f.Reason = shorten(f.Reason)
		v.Failed = &f
	}
	isCanary = next.runs(f.Member, running)
	next.prune()
	return next, isCanary
}

func shorten(reason string) string {
	return strings.ToValidUTF8(reason[:min(len(reason), maxReason)], "")
}

// CalledOff is for a member that has not executed a version, although it had a slot for it, and that runs
// another one. The rest is as with Ready.
func (d *Document) CalledOff(member, hash, running string) (next *Document, isCanary bool) {
	next = d.clone()
	if h := next.Holder(member); h != nil && h.Version == hash && h.Canary && hash != running {
		next.forgetCanary(member, hash)
	}
	return next, next.runs(member, running)
}

// KeepEarlier has the slot of a member be again what it was before it was for a version, for which the
// member has no use any more. Without an earlier slot, it is given back.
func (d *Document) KeepEarlier(member, hash string, earlier *Holder) *Document {
	next := d.clone()
	h := next.Holder(member)
	switch {
	case h == nil || h.Version != hash || earlier != nil && earlier.Version == hash:
		return next
	case h.Canary:
		next.forgetCanary(member, hash)
	}
	if earlier == nil {
		next.endSlot(member, "")
		return next
	}
	*h = *earlier
	if h.State == Observed && !next.isUnprovenCanary(member, h.Version) { // the time has passed meanwhile
		next.endSlot(member, h.Version)
	}
	return next
}
