package passing

import (
	"maps"
	"slices"

	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/report"
)

// HandBack is [Store.HandOver] to the previous image, in a rollback. It gets what it has
// handed over, but for what this image has taken, and the connections of this image at that
// moment, which would be lost. What this image has passed on or set itself does not
// cross: the previous image is to run as if there had been no other.
func (s *Store) HandBack(h *handover.State, exec func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.content != nil {
		defer s.content.handBack(h)()
	}
	return exec()
}

// handBack is the part of [Store.HandBack] that an image needs which has used the store. The
// caller calls release when the exec has failed.
func (c *content) handBack(h *handover.State) (release func()) {
	release = func() {}
	handed := map[int]bool{}
	for _, fd := range c.retired {
		handed[fd.Int()] = true
	}
	var own []*file
	for _, f := range c.byUse() {
		if !f.inherited {
			own = append(own, f)
		}
	}
	for _, f := range c.files {
		if f.inherited {
			handed[f.fd.Int()] = true
		}
	}
	h.Numbers[handover.File] = slices.Sorted(maps.Keys(handed))
	if len(own) == 0 {
		return release
	}
	records, err := inheritedRecords(c.store.inherited)
	if err == nil {
		var n int
		if n, release, err = h.MemoryFileOf(func(inMemory bool) []byte {
			return manifestBack(records, handed, own, inMemory)
		}); err == nil {
			h.Set(handover.Manifest, n)
			h.Texts[handover.Content] = ""
			for _, f := range own {
				h.Numbers[handover.File] = append(h.Numbers[handover.File], f.fd.Int())
				h.Expendable = append(h.Expendable, f.fd.Int())
			}
			slices.Sort(h.Numbers[handover.File])
			slices.Reverse(h.Expendable)
			return release
		}
	}
	report.Warn("connections end with the rollback: they cannot be handed back to the previous version", "connections", len(own), "reason", err)
	return func() {}
}

// manifestBack returns the manifest of what was handed over and not taken, and of this image's
// own connections. A name that both have is that of the connection: it has taken the place of
// the other file. Secrets are left out unless the manifest stays in memory.
func manifestBack(records []record, handed map[int]bool, own []*file, inMemory bool) []byte {
	gone := map[Name]bool{}
	for _, f := range own {
		gone[f.name] = true
	}
	for _, r := range records {
		if r.kind == manifestFile && !handed[r.fd()] {
			gone[r.name] = true
		}
	}
	b := []byte(manifestFormat)
	for _, r := range records {
		if r.name.isSecret() && !inMemory {
			continue
		}
		// A connection that was taken has a state, too.
		if !gone[r.name] || r.kind != manifestFile && r.kind != manifestState {
			b = appendRecord(b, r)
		}
	}
	for _, f := range own {
		b = appendRecord(b, fileRecord(f.name, f.fd.Int()))
		if f.state != nil {
			b = appendRecord(b, record{manifestState, f.name, f.state})
		}
	}
	return appendRecord(b, record{kind: manifestEnd})
}
