package candidate

import (
	"errors"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// trust decides whose files, directories and links a process with more rights than its
// user passes through: those that can be changed only by root and by the users who could
// write the running image already.
type trust struct {
	system     System
	running    Entry
	principals []principal // who can write the running image
	namespace  Namespace
	guessed    error  // why running is what was known when the process started
	last       Mount  // that was asked for
	lastID     uint64 // its ID
}

// checkTrust rejects a candidate by which other users could have this process run what
// they have chosen. They choose by writing the file, or by changing a directory or a
// symbolic link through which its path is resolved. What is so with the running image,
// too, does not count against the candidate.
//
// The walk goes down from the root directory. An entry is looked up only in a directory
// that has been judged, and a symbolic link is followed only after it has been. So by
// the time an entry is looked up, no user who is not trusted can put another one in its
// place, and what has been judged stays as it is until the exec.
func (r *Rules) checkTrust(c *Candidate) *Rejection {
	if r.TrustAnyOwner || !r.System.Credentials().Privileged {
		return nil
	}
	t := r.newTrust()
	var last Entry
	var rejection *Rejection
	visit := func(path string) (target string, _ error) {
		e, err := r.System.Entry(path)
		if err != nil {
			rejection = Unreadable("", err)
			return "", err
		}
		last = e
		if rejection = t.check(path, &e); rejection != nil {
			return "", errUntrusted
		}
		return e.Target, nil
	}
	if _, err := visit("/"); err == nil {
		PathSteps(c.Path, visit)
	}
	isOther := last.Dev != c.ID.Dev || last.Ino != c.ID.Ino
	if isOther && (last.Regular || rejection == nil) {
		// Whether another file is rejected says nothing of this one.
		return notYet("a file that was changed while it was looked at", "a file that stays the same", nil)
	}
	if rejection != nil && t.guessed != nil && !errors.Is(t.guessed, fs.ErrNotExist) { // without /proc it stays so
		rejection.Retryable = true
	}
	return rejection
}

// errUntrusted ends a walk.
var errUntrusted = errors.New("not trusted")

func (r *Rules) newTrust() *trust {
	running, err := r.System.RunningEntry()
	if err != nil {
		running = Entry{ID: r.Running.ID}
	}
	t := &trust{system: r.System, running: running, namespace: r.System.Namespace(), guessed: err}
	for _, w := range running.writers() {
		if p := w.principal(t.namespace); p.kind != unknown {
			t.principals = append(t.principals, p)
		}
	}
	return t
}

// check rejects an entry with a writer who is not trusted.
func (t *trust) check(path string, e *Entry) *Rejection {
	if r := t.checkMount(path, e); r != nil {
		return r
	}
	for _, w := range e.writers() {
		if !t.trusts(w) && !t.excused(e, w) {
			return t.rejection(path, e, w, e.ACLErr)
		}
	}
	return nil
}

// checkMount rejects an entry on a mount where owners prove nothing. The running image
// was executed from its own mount: whoever decides there could have written it.
func (t *trust) checkMount(entryPath string, e *Entry) *Rejection {
	// Without /proc only the device of the running image is known.
	if e.Mount == t.running.Mount && e.Mount != 0 || t.running.Mount == 0 && e.Dev == t.running.Dev && e.Dev != 0 {
		return nil
	}
	m := t.mountOf(entryPath, e)
	if w, ok := m.writer(e); ok && !t.trusts(w) {
		return t.rejection(entryPath, e, w, m.Err)
	}
	return nil
}

// mountOf asks the system once for each of the mounts that follow one another.
func (t *trust) mountOf(entryPath string, e *Entry) Mount {
	if e.Mount == 0 || e.Mount != t.lastID {
		if e.Target != "" {
			entryPath = path.Dir(entryPath) // a link is on the mount of its directory
		}
		t.lastID, t.last = e.Mount, t.system.Mount(entryPath, e.Dev)
	}
	return t.last
}

func (t *trust) trusts(w writer) bool {
	p := w.principal(t.namespace)
	if p.kind == unknown {
		return false
	}
	return p == principal{user, 0} || slices.ContainsFunc(t.principals, func(trusted principal) bool {
		return trusted == p || trusted.kind == everybody
	})
}

// excused reports whether a writer of a directory doesn't count. In a user namespace of
// one ordinary user all directories of the system have unknown owners, root among them.
// The process has no more rights to them than that user has outside, who passes through
// them, too.
func (t *trust) excused(e *Entry, w writer) bool {
	return e.Directory && t.namespace.Single && (w.by == byOwner && t.namespace.unknownUser(w.id) ||
		w.by == byGroup && t.namespace.unknownGroup(w.id))
}

// rejection says which entry is rejected, who can change it, and what to do. The error is
// the reason why that can't be told.
func (t *trust) rejection(path string, e *Entry, w writer, err error) *Rejection {
	subject := "a file that "
	switch {
	case e.Directory:
		subject = "the directory " + path + ", which "
	case e.Target != "":
		subject = "the symbolic link " + path + ", which "
	}
	found, expected := t.describe(e, w, err)
	r := rejected(subject+found, expected+", or set TrustAnyOwner (this process has more rights than its user)")
	r.Outside = !e.Regular || w.by == byFUSE || w.by == byNoSUID || w.by == byMount || err != nil // which may pass
	return r
}

func (t *trust) describe(e *Entry, w writer, err error) (found, expected string) {
	id := strconv.FormatUint(uint64(w.id), 10)
	whom := id
	if w.principal(t.namespace).kind == unknown {
		whom += ", which stands for all that are unknown in this user namespace,"
	}
	const ownerWrites = "one that only its owner can write: "
	switch w.by {
	case byOwner:
		owners := "root"
		if t.running.UID != 0 && !t.namespace.unknownUser(t.running.UID) {
			owners += " or UID " + strconv.FormatUint(uint64(t.running.UID), 10) + ", the owner of the running image"
		}
		command := "chown it"
		if e.Target != "" {
			command = "chown -h it"
		}
		return "belongs to UID " + strings.TrimSuffix(whom, ","), "one that belongs to " + owners + ": " + command
	case byGroup:
		return "GID " + whom + " can write", ownerWrites + "chmod g-w it"
	case byOther:
		return "everybody can write", ownerWrites + "chmod o-w it"
	case byACLUser:
		return "UID " + whom + " can write by its ACL", ownerWrites + "setfacl -x u:" + id + " it"
	case byACLGroup:
		return "GID " + whom + " can write by its ACL", ownerWrites + "setfacl -x g:" + id + " it"
	case byFUSE:
		return "is on a FUSE file system of UID " + id, "one on a file system that root has mounted: move it there"
	case byNoSUID:
		return "is on a file system mounted with nosuid, where the kernel does not trust owners",
			"one on the mount of the running image, or on one without nosuid: move it there"
	case byMount:
		return "is on a file system that another user may control (" + Cause(err).Error() + ")", "one on another file system: move it there"
	default:
		reason := "its form is unknown"
		if err != nil {
			reason = Cause(err).Error()
		}
		return "has an ACL that can't be read (" + reason + ")", ownerWrites + "setfacl -b it"
	}
}
