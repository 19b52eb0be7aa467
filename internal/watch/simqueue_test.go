package watch_test

import (
	"slices"

	"github.com/autorestart-go/autorestart/internal/watch"
)

// An eventKind is what inotify(7) tells apart, as far as that matters.
type eventKind uint8

const (
	step  eventKind = iota // another entry under a name, or none
	ready                  // a file is closed by its writer, or its attributes are set
	self                   // the directory itself is moved, removed or unmounted
	ended                  // the watch has ended
)

// A queue is an inotify instance. It outlives the image that has opened it if it is handed over.
type queue struct {
	watches []dirWatch
	last    int // watch descriptor
	limit   int // of events
	events  []watch.Event

	open   bool
	mounts bool // /proc/self/mountinfo is open
	edge   bool // it has told of a change, and that was not looked at
}

type dirWatch struct {
	wd    int
	dir   *node
	ready bool // events of that kind, too
}

// add adds a watch, or more events to one.
func (q *queue) watch(dir *node, ready bool) (wd int) {
	for i := range q.watches {
		if w := &q.watches[i]; w.dir == dir {
			w.ready = w.ready || ready
			return w.wd
		}
	}
	q.last++
	q.watches = append(q.watches, dirWatch{q.last, dir, ready})
	return q.last
}

// remove removes a watch. Its end is an event.
func (q *queue) remove(wd int) {
	if i := slices.IndexFunc(q.watches, func(w dirWatch) bool { return w.wd == wd }); i >= 0 {
		q.watches = slices.Delete(q.watches, i, i+1)
		q.put(watch.Event{Watch: wd, Self: true, Ended: true})
	}
}

// add queues an event of a directory, if it is watched for that.
func (q *queue) add(dir *node, name string, kind eventKind) {
	for _, w := range q.watches {
		switch {
		case w.dir != dir || kind == ready && !w.ready:
		case kind == ended:
			q.remove(w.wd)
			return
		case kind == self:
			q.put(watch.Event{Watch: w.wd, Self: true})
		default:
			q.put(watch.Event{Watch: w.wd, Name: []byte(name)})
		}
	}
}

func (q *queue) put(e watch.Event) {
	n := len(q.events)
	if n > 0 && sameEvent(q.events[n-1], e) {
		return
	}
	switch {
	case n < q.limit:
		q.events = append(q.events, e)
	case n == q.limit:
		q.events = append(q.events, watch.Event{Watch: -1, Lost: true})
	}
}

func sameEvent(a, b watch.Event) bool {
	return a.Watch == b.Watch && a.Self == b.Self && a.Ended == b.Ended && string(a.Name) == string(b.Name)
}
