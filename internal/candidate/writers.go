package candidate

const (
	sticky     = 0o1000
	groupWrite = 0o020
	otherWrite = 0o002

	noID = 1<<32 - 1 // of an entry of an ACL whose user or group has no ID here
)

// A writer is one reason for which an entry may be changed by others than root: users
// who can write it or decide what it is.
type writer struct {
	by by
	id uint32 // of a user or a group
}

type by uint8

const (
	byOwner    by = iota // the owner can set the mode
	byGroup              // by the mode or an ACL
	byOther              // by the mode: everybody
	byACLUser            // named in an ACL
	byACLGroup           // named in an ACL
	byFUSE               // serves the file system
	byNoSUID             // anyone: the owners on the mount are not to be believed
	byMount              // anyone: it is not known whether they are
	byACL                // anyone: the ACL can't be read
)

// A principal is the set of users that a writer stands for.
type principal struct {
	kind principalKind
	id   uint32
}

type principalKind uint8

const (
	unknown principalKind = iota // may be any user
	user
	group
	everybody
)

// principal returns the users that the writer stands for, as far as IDs mean something in
// the namespace.
func (w writer) principal(in Namespace) principal {
	switch w.by {
	case byOwner, byACLUser:
		if in.unknownUser(w.id) || w.id == noID {
			return principal{}
		}
		return principal{user, w.id}
	case byFUSE:
		return principal{user, w.id}
	case byGroup, byACLGroup:
		if in.unknownGroup(w.id) || w.id == noID {
			return principal{}
		}
		return principal{group, w.id}
	case byOther:
		return principal{kind: everybody}
	default:
		return principal{}
	}
}

// writers returns all writers of an entry: for a file, of its content; for a directory,
// of its names; for a symbolic link, of its target.
//
// The owner always counts, who can set the mode. The bits of the mode for the group are
// the mask of an ACL, so that an ACL lets nobody write where they don't. A symbolic link
// has no mode: it is made once, by its owner. In a sticky directory a name can be
// removed or given to another entry only by the owner of the directory, and by that of
// the entry, who is one of the entry's own writers.
func (e *Entry) writers() []writer {
	all := append(make([]writer, 0, 4), writer{byOwner, e.UID})
	if e.Target != "" || e.Directory && e.Perm&sticky != 0 {
		return all
	}
	if e.Perm&otherWrite != 0 {
		all = append(all, writer{by: byOther})
	}
	switch {
	case e.Perm&groupWrite == 0:
		return all
	case e.ACLErr != nil:
		return append(all, writer{by: byACL})
	case e.ACL == nil:
		return append(all, writer{byGroup, e.GID})
	}
	named, ok := aclWriters(e.ACL, e.GID)
	if !ok {
		return append(all, writer{by: byACL})
	}
	return append(all, named...)
}

// writer returns who decides about an entry on the mount beside root, if anyone does: the
// user who serves the file system; or any user, for a file to be executed where execve
// itself believes no owner.
func (m *Mount) writer(e *Entry) (w writer, ok bool) {
	switch {
	case m.Err != nil:
		return writer{by: byMount}, true
	case m.FUSEUser != 0:
		return writer{byFUSE, m.FUSEUser}, true
	case m.NoSUID && e.Regular:
		return writer{by: byNoSUID}, true
	default:
		return writer{}, false
	}
}
