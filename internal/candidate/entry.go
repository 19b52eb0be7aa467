package candidate

import (
	"strconv"
	"strings"
)

// An Entry is what a directory has under a name: a file, a directory or a symbolic
// link.
type Entry struct {
	ID
	Directory bool
	Target    string // of a symbolic link; "" for everything else

	// ACL is the extended attribute system.posix_acl_access, see acl(5); nil if there is
	// none.
	ACL    []byte
	ACLErr error // why the ACL is not known

	Mount uint64 // the same for all entries on one mount; 0 if it is not known
}

// A Mount decides whether the owners on it can be believed. The zero value is one on
// which they can be.
type Mount struct {
	NoSUID bool // mounted with nosuid, see mount(8)

	// FUSE: a process serves the file system and makes up the owners, see fuse(4).
	FUSE bool
	User uint32 // who has mounted it, if FUSE

	Err error // why the rest is not known
}

// A Namespace tells which owners mean nothing to this process, see user_namespaces(7).
type Namespace struct {
	// SomeUID and SomeGID: not every ID of the system has one in this user namespace.
	// Every other user is shown as UID, and every other group as GID.
	SomeUID, SomeGID bool
	UID, GID         uint32

	// Single: there is no user in it but one, who is not root outside.
	Single bool
}

// unknownUser reports whether the user who is shown as uid may be any user.
func (n Namespace) unknownUser(uid uint32) bool { return n.SomeUID && uid == n.UID }

// unknownGroup is unknownUser for groups.
func (n Namespace) unknownGroup(gid uint32) bool { return n.SomeGID && gid == n.GID }

// allIDs is the number of IDs in the initial user namespace: -1 is none.
const allIDs = 1<<32 - 1

// ParseIDMap parses /proc/self/uid_map or gid_map. It reports whether every ID of the
// system is mapped to itself, and whether the map has no ID but one, which is not 0 in
// the parent namespace.
func ParseIDMap(content []byte) (all, single bool) {
	line, rest, _ := strings.Cut(string(content), "\n")
	fields := strings.Fields(line)
	if rest != "" || len(fields) != 3 {
		return false, false
	}
	var n [3]uint64
	for i, field := range fields {
		var err error
		if n[i], err = strconv.ParseUint(field, 10, 32); err != nil {
			return false, false
		}
	}
	return n == [3]uint64{0, 0, allIDs}, n[1] != 0 && n[2] == 1
}

// Fields of a line in /proc/self/mountinfo, see proc_pid_mountinfo(5).
const (
	MountID        = 0 // as statx(2) tells it
	MountDevice    = 2 // MAJOR:MINOR
	firstMountTags = 6 // any number of them, then a hyphen
)

// FUSEUser finds a mount in the content of /proc/self/mountinfo by one of its fields. It
// returns the user who has mounted it. For virtiofs, which only root can mount, that is
// root.
func FUSEUser(content string, field int, value string) (uid uint32, ok bool) {
	for line := range strings.Lines(content) {
		// Not strings.Fields: the user chooses the source, and an empty one is a field.
		fields := strings.Split(strings.TrimSuffix(line, "\n"), " ")
		if len(fields) <= firstMountTags || fields[field] != value {
			continue
		}
		tail := fields[firstMountTags:]
		for len(tail) > 0 && tail[0] != "-" {
			tail = tail[1:]
		}
		if len(tail) != 4 { // hyphen, type, source, options
			return 0, false
		}
		if tail[1] == "virtiofs" {
			return 0, true
		}
		return fuseUserOption(tail[3])
	}
	return 0, false
}

// fuseUserOption returns the value of the option user_id, which must be there once.
func fuseUserOption(options string) (uid uint32, ok bool) {
	for option := range strings.SplitSeq(options, ",") {
		value, is := strings.CutPrefix(option, "user_id=")
		if !is {
			continue
		}
		n, err := strconv.ParseUint(value, 10, 32)
		if err != nil || ok {
			return 0, false
		}
		uid, ok = uint32(n), true
	}
	return uid, ok
}
