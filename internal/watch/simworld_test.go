package watch_test

import (
	"context"
	"path"
	"slices"
	"time"

	"github.com/autorestart-go/autorestart/internal/simulation"
)

// A world is all that happens beside the process that watches: jobs that deploy and damage, each
// in steps, in any order.
type world struct {
	*simulation.Schedule
	k    *kernel
	path string // that is watched
	file string // a path without links for the same file, for jobs that replace it
	link link   // by which versions can be switched; zero if there is none

	jobs     []*job
	left     int       // jobs to come
	next     time.Time // when the world changes next by itself
	changes  int
	deployed []*content // in their order
	versions int

	quiet   time.Time // from when nothing happens; zero before
	onQuiet func(d time.Duration)
	calm    time.Time // until when nothing happens for a while, at the end of which all has been noticed
	onCalm  func()
}

// A job is a list of steps. A step that can't be made now returns false, and is tried again.
type job struct {
	name  string
	steps []func() bool
}

// A link is a symbolic link on the path. Its target is a directory of releases, each of which
// has the rest of the path.
type link struct {
	path   string // of the link
	target string // of its target, with %d for the release
	rest   string // below the target; "" if the target is the file
}

// isCalm reports whether nothing happens for now.
func (w *world) isCalm() bool { return !w.quiet.IsZero() || !w.calm.IsZero() }

// catchUp makes the changes that are due.
func (w *world) catchUp() {
	for !time.Now().Before(w.next) {
		switch {
		case !w.calm.IsZero():
			w.calm, w.next = time.Time{}, time.Now().Add(w.gap())
			if !w.quiet.IsZero() {
				w.next = time.Now().Add(time.Hour)
			}
			w.k.healthy = !w.quiet.IsZero()
			w.onCalm()
			continue
		case !w.quiet.IsZero():
			w.beCalm()
			continue
		}
		w.act()
		switch {
		case !w.quiet.IsZero():
			w.next = w.quiet
		case w.Chance(10):
			w.beCalm()
		default:
			w.next = time.Now().Add(w.gap())
		}
	}
}

// settled is how long after the last change all has been noticed.
const settled = 32 * time.Second

// beCalm has nothing happen for so long, and no call fail.
func (w *world) beCalm() {
	w.calm = time.Now()
	if w.calm.Before(w.k.fullUntil) {
		w.calm = w.k.fullUntil
	}
	w.calm = w.calm.Add(settled)
	w.k.healthy = true
	w.next = w.calm
}

// gap returns the time between two changes.
func (w *world) gap() time.Duration {
	limits := [...]time.Duration{1, 1, 100 * time.Microsecond, 5 * time.Millisecond, 100 * time.Millisecond, 3 * time.Second, 40 * time.Second}
	return w.Duration(limits[w.IntN(len(limits))])
}

// sleepUntil sleeps until the world changes, until the given time, unless that is zero, or until
// the end of ctx.
func (w *world) sleepUntil(ctx context.Context, end time.Time) {
	wake := w.next
	if !end.IsZero() && end.Before(wake) {
		wake = end
	}
	timer := time.NewTimer(time.Until(wake))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	w.catchUp()
}

// sleep is for the caller of the watcher.
func (w *world) sleep(ctx context.Context, d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end) && ctx.Err() == nil; {
		w.sleepUntil(ctx, end)
	}
}

// act makes a step of some job.
func (w *world) act() {
	switch {
	case w.isCalm():
		return
	case len(w.jobs) == 0 && w.left == 0:
		w.becomeQuiet()
		return
	case w.left > 0 && (len(w.jobs) == 0 || w.Chance(6)):
		w.left--
		w.jobs = append(w.jobs, w.newJob())
	}
	i := w.IntN(len(w.jobs))
	j := w.jobs[i]
	w.Tracef("%s: step", j.name)
	if j.steps[0]() {
		j.steps = j.steps[1:]
	}
	w.k.calls = 0
	w.changes++
	w.k.oracle.note()
	if len(j.steps) == 0 {
		w.jobs = slices.Delete(w.jobs, i, i+1)
	}
}

// becomeQuiet ends all changes, and soon all faults.
func (w *world) becomeQuiet() {
	after := w.Duration(5 * time.Second)
	w.quiet = time.Now().Add(after)
	if w.quiet.Before(w.k.fullUntil) {
		w.quiet = w.k.fullUntil
	}
	w.next = w.quiet
	w.Tracef("nothing happens any more; from %v no call fails", w.quiet.Sub(w.Start))
	w.onQuiet(time.Until(w.quiet))
}

// once makes steps of functions that always succeed.
func once(parts ...func()) (steps []func() bool) {
	for _, part := range parts {
		steps = append(steps, func() bool { part(); return true })
	}
	return steps
}

// newVersion returns a content: mostly a new program.
func (w *world) newVersion() *content {
	var c *content
	switch n := w.IntN(20); {
	case n < 2 && len(w.deployed) > 0:
		c = w.deployed[w.IntN(len(w.deployed))] // back to an earlier one
	case n < 4 && len(w.deployed) > 0:
		c = w.deployed[len(w.deployed)-1] // the same again
	case n < 7:
		c = damaged(w.IntN(damages))
	default:
		w.versions++
		c = program(w.versions, w.k.config.needsLoader && w.Chance(2))
	}
	if c.good {
		w.deployed = append(w.deployed, c)
	}
	return c
}

// open opens a file for writing. A file that is executed can't be opened, unless the file system allows
// that.
func (w *world) open(n *node, truncate bool) bool {
	if n.running && !w.k.config.silent || !w.k.mayWrite(n) {
		return false
	}
	n.writers++
	if truncate {
		w.k.write(n, nothing)
	}
	return true
}

// writing returns the steps of writing c into the file that get returns, from its opening to its close.
// get returns nil if there is none.
func (w *world) writing(get func() *node, c *content, truncate bool) (steps []func() bool) {
	var n *node
	tries := 0
	steps = append(steps, func() bool {
		if n == nil {
			n = get()
		}
		if n == nil {
			return true
		}
		if tries++; !w.open(n, truncate) {
			if tries > 3 {
				n = nil // it gives up: ETXTBSY, or the wait for a lease is interrupted
				return true
			}
			return false
		}
		return true
	})
	cuts := 1 + w.IntN(3)
	for i := range cuts {
		size := len(c.bytes) * (i + 1) / cuts
		steps = append(steps, once(func() {
			switch {
			case n == nil:
			case size == len(c.bytes):
				w.k.write(n, c)
			case truncate:
				w.k.write(n, c.part(size))
			default:
				w.k.write(n, n.content.overwritten(c, size))
			}
		})...)
	}
	return append(steps, once(func() {
		if n != nil {
			w.k.closeWriter(n)
		}
	})...)
}

// place returns the directory and the name of the file that the path leads to now. If a
// directory is missing, it is made.
func (w *world) place() (dir *node, name string) {
	if n, err := w.k.find(w.path); err == nil && n.parent != nil {
		return n.parent, n.name
	}
	if dir := w.k.makeDirs(path.Dir(w.file)); dir != nil {
		return dir, path.Base(w.file)
	}
	return w.k.makeDirs("/elsewhere"), "app"
}

// current returns the file that the path leads to, or nil.
func (w *world) current() *node {
	n, err := w.k.find(w.path)
	if err != nil || n.content == nil {
		return nil
	}
	return n
}

// entry returns what is under the name of the file without following a link.
func (w *world) entry() *node {
	dir, name := w.place()
	return dir.entries[name]
}

func (w *world) removeFile() { w.k.remove(w.entry()) }
