package rollout

import (
	"fmt"
	"slices"
	"strings"
)

// Release takes the slot of a member away, for an operator who knows that the member is gone, or has done
// its part. Another member can be a canary in its place.
func (d *Document) Release(member string) (*Document, error) {
	next := d.clone()
	found := next.Holder(member) != nil
	next.endSlot(member, "")
	for hash := range next.Versions {
		if next.isUnprovenCanary(member, hash) {
			next.forgetCanary(member, hash)
			found = true
		}
	}
	if !found {
		return nil, fmt.Errorf("%s holds no slot, and no version waits for it", member)
	}
	return next, nil
}

// MemberOf returns the member of a host that holds a slot, or the name itself if there is not one such
// member.
func (d *Document) MemberOf(name string) string {
	var found []string
	for _, h := range d.Holders {
		if h.Host == name {
			found = append(found, h.Member)
		}
	}
	if len(found) == 1 && d.Holder(name) == nil {
		return found[0]
	}
	return name
}

// Clear forgets all about a version, but that members have slots for it now. So the version begins as one
// that no member has executed. The version is given by its name, its build ID, or the beginning of its hash.
func (d *Document) Clear(version string) (*Document, error) {
	hash, err := d.find(version)
	if err != nil {
		return nil, err
	}
	next := d.clone()
	v := next.Versions[hash]
	*v = Version{Build: v.Build, Name: v.Name, Granted: v.Granted}
	for _, h := range next.Holders {
		if h.Version == hash {
			v.Canaries = append(v.Canaries, h.Member)
		}
	}
	if len(v.Canaries) == 0 {
		delete(next.Versions, hash)
	}
	return next, nil
}

// minHash is how much of a hash has to be given.
const minHash = 6

func (d *Document) find(version string) (string, error) {
	var found []string
	for hash, v := range d.Versions {
		if version != "" && (v.Name == version || v.Build == version) || len(version) >= minHash && strings.HasPrefix(hash, version) {
			found = append(found, hash)
		}
	}
	slices.Sort(found)
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return "", fmt.Errorf("the group knows no version %s", version)
	default:
		return "", fmt.Errorf("%s can be any of %s; give the beginning of the hash", version, strings.Join(found, ", "))
	}
}

// Settings are what an operator can change. A nil field stays as it is.
type Settings struct {
	Service    *string
	Max        *int
	Canaries   *int
	HealthyFor *Duration
}

// Set changes settings.
func (d *Document) Set(s Settings) (*Document, error) {
	next := d.clone()
	if s.Service != nil {
		next.Service = *s.Service
	}
	if s.Max != nil {
		next.Max = *s.Max
	}
	if s.Canaries != nil {
		next.Canaries = *s.Canaries
	}
	if s.HealthyFor != nil {
		next.HealthyFor = *s.HealthyFor
	}
	if next.Max < 0 || next.Canaries < 0 || next.HealthyFor < 0 || next.Service == "" {
		return nil, fmt.Errorf("max, canaries and healthy-for can't be negative, and service can't be empty")
	}
	return next, nil
}
