package candidate

import "strings"

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

	// FUSEUser is not root, if there is one: a process of this user serves the file system
	// and makes up the owners, see fuse(4).
	FUSEUser uint32

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

// ParseIDMap parses /proc/self/uid_map or gid_map: lines of the first ID here, the first
// ID in the parent namespace, and their number, with ten digits or spaces each. It
// reports whether every ID of the system is mapped to itself, and whether the map has no
// ID but one, which is not 0 in the parent namespace.
func ParseIDMap(content string) (all, single bool) {
	const initial = "         0          0 4294967295\n"
	if len(content) != len(initial) || content[len(initial)-1] != '\n' { // one line
		return false, false
	}
	parent, number := content[11:21], content[22:32]
	return content == initial, number == "         1" && parent != "         0"
}

// FUSEUser finds a mount in the content of /proc/self/mountinfo, see
// proc_pid_mountinfo(5), by its device as MAJOR:MINOR. It returns the user who has
// mounted it. For virtiofs, which only root can mount, that is root.
func FUSEUser(content, device string) (uid uint32, ok bool) {
	const deviceField = 2
	const firstTag = 6 // any number of them; then a hyphen, type, source and options
	for content != "" {
		var line string
		line, content, _ = strings.Cut(content, "\n")
		for i, more := 0, true; more; i++ {
			// The user chooses the source, which may be empty: each space separates two fields.
			var field string
			field, line, more = strings.Cut(line, " ")
			switch {
			case i == deviceField && field != device:
				more = false
			case i >= firstTag && field == "-":
				return superUser(line)
			}
		}
	}
	return 0, false
}

// superUser returns the user who has mounted a file system, by the end of its line in
// mountinfo: type, source and options.
func superUser(tail string) (uid uint32, ok bool) {
	kind, rest, _ := strings.Cut(tail, " ")
	_, options, _ := strings.Cut(rest, " ")
	switch {
	case strings.Contains(options, " "):
		return 0, false
	case kind == "virtiofs":
		return 0, true
	}
	for options != "" { // user_id must be there once
		var option string
		option, options, _ = strings.Cut(options, ",")
		digits, is := strings.CutPrefix(option, "user_id=")
		if !is {
			continue
		}
		if ok {
			return 0, false
		}
		if uid, ok = parseID(digits); !ok {
			return 0, false
		}
	}
	return uid, ok
}

// parseID parses a decimal number. The errors of strconv would add some kB to a program.
func parseID(s string) (id uint32, ok bool) {
	var n uint64
	for i := range len(s) {
		c := s[i]
		if n = 10*n + uint64(c-'0'); c < '0' || c > '9' || n > noID {
			return 0, false
		}
	}
	return uint32(n), s != ""
}
