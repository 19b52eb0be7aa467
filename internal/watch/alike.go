package watch

import "github.com/autorestart-go/autorestart/internal/candidate"

// alikeLooks is how many looks in a row have to find the previous content in another file, where
// one read does not prove it.
//
// A path-based FUSE file system has one page cache for all files that were ever at a path, see
// [candidate.System.RunningIsCoherent]. Each opening empties it, but the running image may fill
// a page again, from its own file, before the page is read. A read is then stale in that page; a
// difference that was read is a difference.
const alikeLooks = 5

// isSame reports whether a file in the state id, in which a look has found the content of the base,
// has that content.
func (w *Watcher) isSame(id candidate.ID) bool {
	return id == w.Base().ID || w.Rules.System.RunningIsCoherent() || w.alike.isBelieved(id)
}

// A likeness counts the looks that have found the previous content in one state of a file.
type likeness struct {
	id    candidate.ID
	looks int
}

// isBelieved notes such a look, and reports whether there were enough of them.
func (l *likeness) isBelieved(id candidate.ID) bool {
	if id != l.id {
		*l = likeness{id: id}
	}
	l.looks++
	return l.looks >= alikeLooks
}
