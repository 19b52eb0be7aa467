package watch_test

import (
	"strings"
	"syscall"
	"time"

	"github.com/autorestart-go/autorestart/internal/candidate"
	"github.com/autorestart-go/autorestart/internal/watch"
)

// An oracle knows what should be done with each file, by what the world has made of it.
type oracle struct {
	k      *kernel
	w      *world
	caller *caller

	base      *content // that a version has to differ from
	baseNode  *node
	baseID    candidate.ID
	isRunning bool // the base is the running image

	remembering bool // the watcher has not yet had a look since it got the base
	faults      int  // at that time
	forgotten   bool // the content of the base could not be read, or was another one by then

	rejections map[candidate.ID]bool // states of files that were rejected
	out        candidate.ID          // the last of them, if nothing else has been at the path since
	later      candidate.ID          // postponed in this state
	until      time.Time
	since      int // changes when it was postponed

	changes    int // at the last call of Open for the path
	loadableAt int // changes when there was a dynamic loader last
}

// note is called after each change.
func (o *oracle) note() {
	n, err := o.k.find(o.w.path)
	if err != nil || n.id() != o.out {
		o.out = candidate.ID{}
	}
	if _, err := o.k.find(loader); err == nil {
		o.loadableAt = o.w.changes
	}
}

func (o *oracle) baseIs(n *node, running bool) {
	if running { // another image knows of none
		o.out = candidate.ID{}
		clear(o.rejections)
	}
	o.base, o.baseNode, o.baseID, o.isRunning = n.content, n, n.id(), running
	o.remembering, o.faults, o.forgotten = true, o.k.faults, false
}

// remembered is called when the watcher has had its chance to read the base.
func (o *oracle) remembered() {
	if o.remembering {
		o.remembering = false
		o.forgotten = o.k.faults != o.faults || o.baseNode.id() != o.baseID
	}
}

// knowsBase reports whether the watcher can tell the base from another version by the content.
func (o *oracle) knowsBase() bool {
	if o.isRunning && !o.k.config.silent {
		return o.k.runningFDs > 0
	}
	return !o.forgotten
}

func (o *oracle) rejected(id candidate.ID) {
	o.out, o.rejections[id] = id, true
	o.note()
}

func (o *oracle) postponed(id candidate.ID, d time.Duration) {
	o.later, o.until, o.since = id, time.Now().Add(d), o.w.changes
	if q := o.k.files.queue; o.k.config.faulty > 0 || q != nil && (len(q.events) > 0 || q.edge || o.k.mountsChanged) {
		o.later = candidate.ID{} // an event ends the delay
	}
}

// trustsUser reports whether the process may execute what a user chooses.
func (o *oracle) trustsUser(uid uint32) bool { return uid == 0 || uid == o.k.RunningID().UID }

// trustsFile reports whether none but trusted users can write a file.
func (o *oracle) trustsFile(n *node) bool {
	return !o.k.config.privileged || o.k.config.trustsAny || o.trustsUser(n.uid) && n.perm&0o022 == 0
}

// trusted reports whether none but trusted users can change what the path leads to.
func (o *oracle) trusted(file *node) bool {
	if !o.k.config.privileged || o.k.config.trustsAny {
		return true
	}
	w := new(walk)
	if n, err := w.resolve(o.k.root, o.w.path, o.k.root, true); err != nil || n != file {
		return false
	}
	for _, n := range w.visited {
		foreign := n.volume != o.k.running.volume
		switch {
		case !o.trustsUser(n.uid),
			n.target == "" && n.perm&0o022 != 0 && (n.entries == nil || n.perm&0o1000 == 0),
			foreign && !o.trustsUser(n.volume.user),
			foreign && n.volume.nosuid && n == file:
			return false
		}
	}
	return true
}

// offered checks a candidate at the moment when it is returned.
func (o *oracle) offered(c *candidate.Candidate) {
	n := c.File.(*handle).node
	o.check(n, "offered")
	switch {
	case c.ID != n.id():
		o.k.Failf("offered in another state: %v", n)
	case n.content.equals(o.base) && o.knowsBase():
		o.k.Failf("offered twice: %v", n)
	case c.ID == o.out:
		o.k.Failf("offered, and was rejected: %v", n)
	case o.hasFailed(n):
		o.k.Failf("offered, and has failed before: %v", n)
	case c.ID == o.later && time.Now().Before(o.until) && o.since == o.w.changes:
		o.k.Failf("offered %v too early: %v", time.Until(o.until), n)
	}
}

func (o *oracle) executed(n *node) { o.check(n, "executed") }

func (o *oracle) hasFailed(n *node) bool {
	mark := o.caller.failed.Mark
	return mark != "" && strings.HasPrefix(mark, n.id().Mark())
}

// check fails for a file that must not be executed.
func (o *oracle) check(n *node, how string) {
	there, err := o.k.find(o.w.path)
	switch {
	case err != nil || there != n:
		o.k.Failf("%s, and is not at the path: %v", how, n)
	case !n.content.good && !n.content.unclear:
		o.k.Failf("%s: %v", how, n)
	case n.perm&0o111 == 0:
		o.k.Failf("%s, and is not executable: %v", how, n)
	case o.changes == o.w.changes && !o.trusted(n), !o.trustsFile(n):
		// Root may change a directory during the look, and does not have to be trusted twice.
		o.k.Failf("%s, and can't be trusted: %v", how, n)
	case o.k.config.capable && !n.capable && o.k.runningFDs > 0:
		o.k.Failf("%s without capabilities: %v", how, n)
	case n.content.loader && o.loadableAt < o.changes:
		o.k.Failf("%s without its loader: %v", how, n)
	}
}

// acceptable reports whether the file at the path is one that has to be executed if it is new.
func (o *oracle) acceptable() (*node, error) {
	n, err := o.k.find(o.w.path)
	if err != nil {
		return nil, err
	}
	_, noLoader := o.k.find(loader)
	switch {
	case n.content == nil, !n.content.good, n.perm&0o111 == 0, n.writers > 0, !o.trusted(n),
		n.content.loader && noLoader != nil,
		o.k.config.capable && (!n.capable || n.volume.nosuid):
		return nil, errNotAcceptable
	}
	return n, nil
}

const errNotAcceptable = syscall.ENOEXEC

// arrived checks that the last good version has been found, some time after all has become quiet.
func (o *oracle) arrived() {
	n, err := o.acceptable()
	switch {
	case err != nil, n.content.equals(o.base), o.rejections[n.id()], o.hasFailed(n):
	case o.forgotten && n.id().Mark() == o.baseID.Mark():
	default:
		o.k.Failf("not offered within %v: %v", settled, n)
	}
	o.k.Tracef("quiet: %v, %v", n, err)
	o.k.looks, o.k.total = 0, 0
}

// idle checks how often the watcher has looked since then.
func (o *oracle) idle() {
	_, err := o.acceptable()
	mode, trust := o.caller.watcher.Mode(), o.eventsTell()
	if trust && (!mode.Events || mode.Poll != o.k.config.interval || mode.Reason != nil) {
		o.k.Failf("events tell of all, and the mode is %v", mode)
	}
	if !trust && mode.Poll == 0 {
		o.k.Failf("events don't tell of all, and the mode is %v", mode)
	}
	seconds := int(tail / time.Second)
	switch {
	case trust && o.k.config.interval == 0 && err == nil:
		if o.k.total > 0 {
			o.k.Failf("%d calls while nothing happened, and %d looks", o.k.total, o.k.looks)
		}
	case o.k.looks > 4*seconds:
		o.k.Failf("%d looks in %d s", o.k.looks, seconds)
	}
}

// eventsTell reports whether there is an event for every change on the path.
func (o *oracle) eventsTell() bool {
	if o.k.config.noInotify || o.k.config.noMounts {
		return false
	}
	w := new(walk)
	if n, err := w.resolve(o.k.root, o.w.path, o.k.root, true); err == nil && n.content != nil && w.crossed == n {
		return false
	}
	for _, n := range w.visited {
		if n.entries != nil && watch.SilentFileSystem(n.volume.magic) != "" {
			return false
		}
	}
	return true
}

// closed checks what is held at the end.
func (o *oracle) closed() {
	if files, sources := o.k.openFiles, o.k.openSources; files != 0 || sources != 0 {
		o.k.Failf("%d files and %d sources are open after Close", files, sources)
	}
}
