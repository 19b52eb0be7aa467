package passing

import (
	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/sys"
)

// Duplicate returns what the next image would inherit of h, with descriptors of its own: for a
// test in which both images live in one process.
func Duplicate(h *handover.State) (*handover.State, error) {
	next := *h
	records, err := inheritedRecords(h)
	if err != nil {
		return nil, err
	}
	for kind := range next.Numbers {
		if handover.NumberKind(kind) >= handover.Watch {
			next.Numbers[kind] = nil
		}
	}
	for _, kind := range [...]handover.NumberKind{handover.Previous, handover.Dir} {
		for _, n := range h.Numbers[kind] {
			fd, err := sys.Duplicate(n)
			if err != nil {
				return nil, err
			}
			next.Set(kind, fd.Release())
		}
	}
	b := []byte(manifestFormat)
	for _, r := range records {
		if r.kind == manifestFile {
			fd, err := sys.Duplicate(r.fd())
			if err != nil {
				return nil, err
			}
			next.Numbers[handover.File] = append(next.Numbers[handover.File], fd.Int())
			r = fileRecord(r.name, fd.Release())
		}
		b = appendRecord(b, r)
	}
	manifest, err := handover.MemoryFile(appendRecord(b, record{kind: manifestEnd}))
	if err != nil {
		return nil, err
	}
	next.Set(handover.Manifest, manifest)
	next.Texts[handover.Content], next.Reserve, next.Expendable = "", nil, nil
	return &next, nil
}
