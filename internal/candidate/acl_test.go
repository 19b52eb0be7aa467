package candidate

import (
	"encoding/binary"
	"slices"
	"testing"
)

// aclOf returns an ACL of entries of tag, permissions and ID.
func aclOf(entries ...[3]uint32) []byte {
	b := binary.LittleEndian.AppendUint32(nil, aclVersion)
	for _, e := range entries {
		b = binary.LittleEndian.AppendUint16(b, uint16(e[0]))
		b = binary.LittleEndian.AppendUint16(b, uint16(e[1]))
		b = binary.LittleEndian.AppendUint32(b, e[2])
	}
	return b
}

func TestACLWriters(t *testing.T) {
	owner, ownerGroup, other := [3]uint32{aclOwner, 7, noID}, [3]uint32{aclOwnerGroup, 5, noID}, [3]uint32{aclOther, 5, noID}
	mask := [3]uint32{aclMask, 7, noID}
	minimal := aclOf(owner, ownerGroup, other)
	for name, tt := range map[string]struct {
		acl  []byte
		want []writer
		ok   bool
	}{
		"minimal":        {minimal, nil, true},
		"group":          {aclOf(owner, [3]uint32{aclOwnerGroup, 7, noID}, other), []writer{{byGroup, 50}}, true},
		"group, masked":  {aclOf(owner, [3]uint32{aclOwnerGroup, 7, noID}, [3]uint32{aclMask, 5, noID}, other), nil, true},
		"user":           {aclOf(owner, [3]uint32{aclUser, 7, 1000}, ownerGroup, mask, other), []writer{{byACLUser, 1000}}, true},
		"user, masked":   {aclOf(owner, [3]uint32{aclUser, 7, 1000}, ownerGroup, [3]uint32{aclMask, 5, noID}, other), nil, true},
		"user, reads":    {aclOf(owner, [3]uint32{aclUser, 5, 1000}, ownerGroup, mask, other), nil, true},
		"user, only w":   {aclOf(owner, [3]uint32{aclUser, 2, 1000}, ownerGroup, mask, other), []writer{{byACLUser, 1000}}, true},
		"named group":    {aclOf(owner, ownerGroup, [3]uint32{aclGroup, 6, 60}, mask, other), []writer{{byACLGroup, 60}}, true},
		"several":        {aclOf(owner, [3]uint32{aclUser, 7, 1}, [3]uint32{aclUser, 5, 2}, [3]uint32{aclUser, 7, 3}, ownerGroup, [3]uint32{aclGroup, 7, 4}, mask, other), []writer{{byACLUser, 1}, {byACLUser, 3}, {byACLGroup, 4}}, true},
		"any order":      {aclOf(mask, other, [3]uint32{aclUser, 7, 1000}, ownerGroup, owner), []writer{{byACLUser, 1000}}, true},
		"as the kernel":  {[]byte("\x02\x00\x00\x00\x01\x00\x07\x00\xff\xff\xff\xff\x02\x00\x07\x00\x39\x30\x00\x00\x04\x00\x05\x00\xff\xff\xff\xff\x10\x00\x07\x00\xff\xff\xff\xff\x20\x00\x05\x00\xff\xff\xff\xff"), []writer{{byACLUser, 12345}}, true},
		"nothing":        {nil, nil, false},
		"empty":          {[]byte{}, nil, false},
		"no entries":     {aclOf(), nil, false},
		"version 1":      {append([]byte{1, 0, 0, 0}, minimal[4:]...), nil, false},
		"version 3":      {append([]byte{3, 0, 0, 0}, minimal[4:]...), nil, false},
		"big-endian":     {append([]byte{0, 0, 0, 2}, minimal[4:]...), nil, false},
		"cut":            {minimal[:len(minimal)-1], nil, false},
		"longer":         {append(slices.Clone(minimal), 0), nil, false},
		"unknown tag":    {aclOf(owner, ownerGroup, other, [3]uint32{0x40, 7, 1}), nil, false},
		"two tags":       {aclOf(owner, ownerGroup, other, [3]uint32{aclUser | aclGroup, 7, 1}), nil, false},
		"unknown rights": {aclOf(owner, ownerGroup, [3]uint32{aclOther, 8, noID}), nil, false},
		"two masks":      {aclOf(owner, ownerGroup, other, mask, mask), nil, false},
		"two owners":     {aclOf(owner, owner, ownerGroup, other), nil, false},
		"no owner":       {aclOf(ownerGroup, other), nil, false},
		"no group":       {aclOf(owner, other), nil, false},
		"no others":      {aclOf(owner, ownerGroup), nil, false},
		"user, no mask":  {aclOf(owner, [3]uint32{aclUser, 5, 1000}, ownerGroup, other), nil, false},
	} {
		got, ok := aclWriters(tt.acl, 50)
		if ok != tt.ok || !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, %t; want %v, %t", name, got, ok, tt.want, tt.ok)
		}
	}
}

// FuzzACL: each writer is one entry with the right to write, and a mask that does not
// have it leaves none.
func FuzzACL(f *testing.F) {
	f.Add(aclOf())
	f.Add(aclOf([3]uint32{aclOwner, 7, noID}, [3]uint32{aclUser, 7, 1000}, [3]uint32{aclOwnerGroup, 5, noID},
		[3]uint32{aclMask, 7, noID}, [3]uint32{aclOther, 5, noID}))
	f.Fuzz(func(t *testing.T, acl []byte) {
		writers, ok := aclWriters(acl, 50)
		if !ok {
			if writers != nil {
				t.Errorf("%v of an ACL that is not one", writers)
			}
			return
		}
		left := slices.Clone(writers)
		masked := false
		for b := acl[aclHeaderSize:]; len(b) > 0; b = b[aclEntrySize:] {
			writes := b[2]&aclWrite != 0
			w := writer{byGroup, 50}
			switch tag := binary.LittleEndian.Uint16(b); tag {
			case aclMask:
				masked = !writes
				continue
			case aclUser:
				w = writer{byACLUser, binary.LittleEndian.Uint32(b[4:])}
			case aclGroup:
				w = writer{byACLGroup, binary.LittleEndian.Uint32(b[4:])}
			case aclOwnerGroup:
			default:
				continue
			}
			if i := slices.Index(left, w); writes && i >= 0 {
				left = slices.Delete(left, i, i+1)
			}
		}
		if len(left) > 0 || masked && len(writers) > 0 {
			t.Errorf("%x: %v, of which no entry tells %v", acl, writers, left)
		}
	})
}
