package candidate

// The form of system.posix_acl_access, linux/posix_acl_xattr.h: a version, and entries
// of a tag, permissions and an ID, all little-endian.
const (
	aclVersion    = 2
	aclHeaderSize = 4
	aclEntrySize  = 8

	aclOwner      = 0x01
	aclUser       = 0x02 // named by its ID
	aclOwnerGroup = 0x04
	aclGroup      = 0x08 // named by its ID
	aclMask       = 0x10 // limits aclUser, aclOwnerGroup and aclGroup
	aclOther      = 0x20

	aclWrite = 2 // beside aclRead, 4, and aclExecute, 1
	aclPerms = 7
)

// aclWriters returns which users and groups beside the owner and the others an ACL lets
// write, or false for an ACL that is not as acl(5) says.
func aclWriters(acl []byte, gid uint32) (writers []writer, ok bool) {
	if len(acl) < aclHeaderSize || (len(acl)-aclHeaderSize)%aclEntrySize != 0 ||
		uint32At(acl) != aclVersion {
		return nil, false
	}
	mask, seen := uint16(aclPerms), uint16(0)
	for entries := acl[aclHeaderSize:]; len(entries) > 0; entries = entries[aclEntrySize:] {
		tag, perms, id := uint16At(entries), uint16At(entries[2:]), uint32At(entries[4:])
		writes := perms&aclWrite != 0
		switch tag {
		case aclUser:
			if writes {
				writers = append(writers, writer{byACLUser, id})
			}
		case aclGroup:
			if writes {
				writers = append(writers, writer{byACLGroup, id})
			}
		case aclOwner, aclOther, aclOwnerGroup, aclMask:
			if seen&tag != 0 {
				return nil, false
			}
			if tag == aclOwnerGroup && writes {
				writers = append(writers, writer{byGroup, gid})
			}
			if tag == aclMask {
				mask = perms
			}
		default:
			return nil, false
		}
		if perms&^aclPerms != 0 {
			return nil, false
		}
		seen |= tag
	}
	switch {
	case seen&(aclOwner|aclOwnerGroup|aclOther) != aclOwner|aclOwnerGroup|aclOther,
		seen&(aclUser|aclGroup) != 0 && seen&aclMask == 0:
		return nil, false
	case mask&aclWrite == 0:
		return nil, true
	}
	return writers, true
}

// Not by encoding/binary, which would add 30 kB to a program that has no other use for it.

func uint16At(b []byte) uint16 { return uint16(b[0]) | uint16(b[1])<<8 }
func uint32At(b []byte) uint32 { return uint32(uint16At(b)) | uint32(uint16At(b[2:]))<<16 }
