// Package rollout decides which members of a group may restart, and into which version. It is a set of
// functions over the document of a group. It knows neither etcd nor a clock.
package rollout

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Format is the number of the layout that this package reads and writes. A release that writes a layout
// which this one would misread writes another number.
const Format = 1

// A Document is what a group knows of its rollouts. The methods that decide something return a changed
// copy, and leave the Document as it is.
type Document struct {
	Format     int                 `json:"format"`
	Service    string              `json:"service"`     // the program of the group
	Max        int                 `json:"max"`         // how many members may restart at once
	Canaries   int                 `json:"canaries"`    // how many members execute a version before it is proven
	HealthyFor Duration            `json:"healthy_for"` // how long each canary has to run
	Holders    []Holder            `json:"holders"`
	Versions   map[string]*Version `json:"versions"` // by the hash of their content
	Grants     int64               `json:"grants"`   // how many slots were given so far
}

// A Holder is a member that has a slot.
type Holder struct {
	Member   string    `json:"member"`
	Host     string    `json:"host"`    // as a user reads it
	Version  string    `json:"version"` // the hash of the version that the slot is for
	State    State     `json:"state"`
	Since    time.Time `json:"since"`    // by the clock of the member; nothing is decided by it
	Vanishes bool      `json:"vanishes"` // the slot is free once the member's key of life is gone

	// Canary says that the member has become a canary of the version by this slot, and has not executed it
	// so far as is known.
	Canary bool `json:"canary,omitempty"`

	// Unexecuted are versions that the slot was for before, and that the member has become a canary of by it. It
	// is one until the slot is given back: until then it may still execute them.
	Unexecuted []string `json:"unexecuted,omitempty"`
}

// A State says what a Holder does.
type State string

const (
	Restarting State = "restarting"
	Observed   State = "observed" // a canary that is ready, until it has run for HealthyFor
)

// A Version is what a group knows of a version.
type Version struct {
	Build    string   `json:"build"`              // the Go build ID
	Name     string   `json:"name"`               // as a user reads it
	Canaries []string `json:"canaries,omitempty"` // the members that may have executed it before it was proven
	Healthy  []string `json:"healthy,omitempty"`  // those of Canaries that have run for HealthyFor
	Proven   bool     `json:"proven"`
	Failed   *Failure `json:"failed,omitempty"`
	Granted  int64    `json:"granted"` // Document.Grants at its last grant
}

// A Failure says why a version is refused.
type Failure struct {
	Member string    `json:"member"` // where the version was rolled back
	Host   string    `json:"host"`   // as a user reads it
	Reason string    `json:"reason"`
	At     time.Time `json:"at"` // by the clock of the member
}

// A Duration is written as time.Duration.String.
type Duration time.Duration

func (d Duration) String() string { return time.Duration(d).String() }

// MarshalText returns d as a text.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText parses a text.
func (d *Duration) UnmarshalText(b []byte) error {
	parsed, err := time.ParseDuration(string(b))
	*d = Duration(parsed)
	return err
}

// A FormatError says that a document has a layout of another release.
type FormatError struct{ Found int }

func (e *FormatError) Error() string {
	return fmt.Sprintf("the document of the group has format %d; this program reads format %d", e.Found, Format)
}

// Parse reads a document.
func Parse(b []byte) (*Document, error) {
	var layout struct{ Format int }
	if err := json.Unmarshal(b, &layout); err != nil {
		return nil, fmt.Errorf("the document of the group: %w", err)
	}
	if layout.Format != Format {
		return nil, &FormatError{layout.Format}
	}
	d := new(Document)
	if err := json.Unmarshal(b, d); err != nil {
		return nil, fmt.Errorf("the document of the group: %w", err)
	}
	maps.DeleteFunc(d.Versions, func(_ string, v *Version) bool { return v == nil })
	return d, nil
}

// Bytes returns the text form of d.
func (d *Document) Bytes() []byte {
	b, err := json.MarshalIndent(d, "", "\t")
	if err != nil {
		panic(err) // no field can fail
	}
	return b
}

// clone returns a copy that shares nothing with d.
func (d *Document) clone() *Document {
	next := *d
	next.Holders = slices.Clone(d.Holders)
	next.Versions = make(map[string]*Version, len(d.Versions))
	for hash, v := range d.Versions {
		copied := *v
		copied.Canaries, copied.Healthy = slices.Clone(v.Canaries), slices.Clone(v.Healthy)
		next.Versions[hash] = &copied // a Failure is never changed
	}
	return &next
}

// Holder returns the slot of a member, or nil.
func (d *Document) Holder(member string) *Holder {
	if i := d.holderIndex(member); i >= 0 {
		return &d.Holders[i]
	}
	return nil
}

func (d *Document) holderIndex(member string) int {
	return slices.IndexFunc(d.Holders, func(h Holder) bool { return h.Member == member })
}

// endSlot takes the slot of a member back, which runs a version, or an unknown one.
func (d *Document) endSlot(member, running string) {
	if i := d.holderIndex(member); i >= 0 {
		d.forgetUnexecuted(d.Holders[i], running)
		d.Holders = slices.Delete(d.Holders, i, i+1)
	}
}

// forgetUnexecuted is for a member that will not execute any more what it has not executed so far.
func (d *Document) forgetUnexecuted(h Holder, running string) {
	for _, hash := range h.Unexecuted {
		if hash != running {
			d.forgetCanary(h.Member, hash)
		}
	}
}

// forgetCanary is for a member that does not execute a version, although it had leave to do so.
func (d *Document) forgetCanary(member, hash string) {
	if v := d.Versions[hash]; v != nil && !slices.Contains(v.Healthy, member) {
		v.Canaries = slices.DeleteFunc(v.Canaries, func(canary string) bool { return canary == member })
	}
}

// version returns what is known of a version, which may be new.
func (d *Document) version(hash string) *Version {
	if d.Versions[hash] == nil {
		d.Versions[hash] = new(Version)
	}
	return d.Versions[hash]
}

// IsProven reports whether the canaries of a version have been healthy, or none are needed.
func (d *Document) IsProven(v *Version) bool { return v.Proven || len(v.Healthy) >= d.Canaries }

// Limits of what a document keeps: a value of etcd has at most 1.5 MB.
const (
	maxVersions = 32 // that have not failed
	maxFailed   = 256
	maxReason   = 512 // bytes
)

// prune forgets the versions that were granted the longest ago, but none that a slot is for.
func (d *Document) prune() {
	d.pruneTo(maxVersions, func(v *Version) bool { return v.Failed == nil })
	d.pruneTo(maxFailed, func(v *Version) bool { return v.Failed != nil })
}

func (d *Document) pruneTo(limit int, kind func(*Version) bool) {
	var hashes []string
	for hash, v := range d.Versions {
		if kind(v) {
			hashes = append(hashes, hash)
		}
	}
	slices.SortFunc(hashes, func(a, b string) int { return int(d.Versions[b].Granted - d.Versions[a].Granted) })
	for _, hash := range hashes[min(limit, len(hashes)):] {
		if !slices.ContainsFunc(d.Holders, func(h Holder) bool { return h.Version == hash }) {
			delete(d.Versions, hash)
		}
	}
}
