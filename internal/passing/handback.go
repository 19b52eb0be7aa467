package passing

import (
	"maps"
	"slices"

	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/report"
)

// HandBack is [Store.HandOver] to the previous image, in a rollback. It gets what it has
// handed over, but for what this image has taken, and what this image lends at that moment:
// connections, which would be lost. What this image has passed on or set itself does not
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
	var lent []*file
	for _, f := range c.byDescriptor() {
		switch {
		case f.inherited:
			handed[f.fd.Int()] = true
		case f.connection != nil:
			lent = append(lent, f)
		}
	}
	h.Numbers[handover.File] = slices.Sorted(maps.Keys(handed))
	if len(lent) == 0 {
		return release
	}
	records, err := inheritedRecords(c.store.inherited)
	if err == nil {
		var n int
		if n, release, err = h.MemoryFile(c.manifestBack(records, handed, lent)); err == nil {
			h.Set(handover.Manifest, n)
			h.Texts[handover.Content] = ""
			for _, f := range lent {
				h.Numbers[handover.File] = append(h.Numbers[handover.File], f.fd.Int())
			}
			slices.Sort(h.Numbers[handover.File])
			return release
		}
	}
	report.Warn("connections are not handed back to the previous version, and end", "connections", len(lent), "reason", err)
	return func() {}
}

// manifestBack returns the manifest of the files that were handed over and still are, and of
// those that are lent. A number that was handed over, and closed since, may be that of a lent
// file by now. A name that both have is that of the lent file: it has taken the place of the
// other.
func (c *content) manifestBack(records []record, handed map[int]bool, lent []*file) []byte {
	b := []byte(manifestFormat)
	for _, r := range records {
		f := c.files[r.name]
		replaced := f != nil && !f.inherited && f.connection != nil
		if r.kind == manifestFile && (replaced || !handed[r.fd()]) {
			continue
		}
		b = appendRecord(b, r)
	}
	for _, f := range lent {
		b = appendRecord(b, fileRecord(f.name, f.fd.Int()))
		if f.state != nil {
			b = appendRecord(b, record{manifestState, f.name, f.state})
		}
	}
	return appendRecord(b, record{kind: manifestEnd})
}
