package rollout_test

import (
	"maps"
	"slices"

	"github.com/autorestart-go/autorestart/contrib/fleet/internal/rollout"
)

// A store is what the simulated etcd has of a group.
type store struct {
	revision int64 // of the last change
	modified int64 // the revision of doc
	doc      *rollout.Document
	queue    []queued
	alive    map[string]bool
}

// queued is the key of a waiting member. The queue is in the order of created.
type queued struct {
	rollout.Waiting
	created int64
}

// A snapshot is what one read of the store returns. Nothing in it changes.
type snapshot struct {
	modified int64
	doc      *rollout.Document
	queue    []queued
	alive    map[string]bool
}

func (s *store) read() snapshot {
	return snapshot{s.modified, s.doc, slices.Clone(s.queue), maps.Clone(s.alive)}
}

func (s snapshot) waiting() (all []rollout.Waiting) {
	for _, q := range s.queue {
		all = append(all, q.Waiting)
	}
	return all
}

func (s snapshot) isAlive(member string) bool { return s.alive[member] }

// created returns the revision of a member's key in the queue; 0 if there is none.
func (s snapshot) created(member string) int64 {
	for _, q := range s.queue {
		if q.Member == member {
			return q.created
		}
	}
	return 0
}

// enqueue keeps the place of a key that is there.
func (s *store) enqueue(w rollout.Waiting) {
	s.revision++
	for i, q := range s.queue {
		if q.Member == w.Member {
			s.queue[i].Waiting = w
			return
		}
	}
	s.queue = append(s.queue, queued{w, s.revision})
}

func (s *store) dequeue(member string) {
	s.queue = slices.DeleteFunc(s.queue, func(q queued) bool { return q.Member == member })
}

// A write is a transaction. It may reach the store late, or not at all.
type write struct {
	member   string
	modified int64 // of doc, which it needs
	created  int64 // of the member's key in the queue, which it needs; 0: it needs none
	next     *rollout.Document
	grants   string // the version that the member gets a slot for; "" if it is no grant
	fails    string // the version that fails by it
	vanishes bool
}

// commit reports whether the transaction has succeeded.
func (s *store) commit(w write) bool {
	if w.modified != s.modified || w.created != 0 && w.created != s.read().created(w.member) {
		return false
	}
	s.revision++
	s.modified, s.doc = s.revision, w.next
	if w.grants != "" {
		s.dequeue(w.member)
		if w.vanishes {
			s.alive[w.member] = true
		}
	}
	return true
}
