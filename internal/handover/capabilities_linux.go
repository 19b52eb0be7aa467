//go:build !autorestart_portable

// Which capabilities an exec gives, see capabilities(7).
//
//	call                    since    without it
//	security.capability     2.6.24   no file gives any
//	capget(2), version 3    2.6.26   nothing can be attested
//	PR_CAPBSET_READ         2.6.25   the bounding set has all

package handover

import (
	"syscall"
	"unsafe"

	"github.com/autorestart-go/autorestart/internal/rawsys"
)

// capabilitySets are those of a thread, as capget(2) returns them: the lower half of each
// set, then the upper one.
type capabilitySets [2]struct{ effective, permitted, inheritable uint32 }

type capabilityHeader struct {
	version uint32
	pid     int32
}

const capabilityVersion3 = 0x20080522

func capabilities() (c capabilitySets, err error) {
	header := capabilityHeader{version: capabilityVersion3}
	_, _, errno := syscall.RawSyscall(syscall.SYS_CAPGET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&c)), 0)
	if errno != 0 {
		return c, errno
	}
	return c, nil
}

func (c *capabilitySets) permitted() uint64 {
	return uint64(c[1].permitted)<<32 | uint64(c[0].permitted)
}

func (c *capabilitySets) inheritable() uint64 {
	return uint64(c[1].inheritable)<<32 | uint64(c[0].inheritable)
}

// gained returns the capabilities that an exec of the file at the path gives to a process
// that is not root's and has these.
func (c *capabilitySets) gained(path string) (capabilities uint64, err error) {
	var fs syscall.Statfs_t
	const noSUID = 2 // ST_NOSUID
	_, err = rawsys.IgnoringEINTR(func() (int, error) { return 0, syscall.Statfs(path, &fs) })
	if err != nil || fs.Flags&noSUID != 0 {
		return 0, err
	}
	b := make([]byte, 32)
	n, err := rawsys.IgnoringEINTR(func() (int, error) { return syscall.Getxattr(path, "security.capability", b) })
	switch {
	case err == syscall.ENODATA, err == syscall.EOPNOTSUPP:
		return 0, nil
	case err != nil:
		return 0, err
	}
	permitted, inheritable, ok := parseFileCapabilities(b[:n])
	if !ok {
		return 0, nil
	}
	return permitted&boundingSet() | inheritable&c.inheritable(), nil
}

// parseFileCapabilities parses struct vfs_cap_data of linux/capability.h, version 2 or 3.
func parseFileCapabilities(b []byte) (permitted, inheritable uint64, ok bool) {
	const version2, version3, size = 2, 3, 20
	if len(b) < size || b[3] != version2 && b[3] != version3 {
		return 0, 0, false
	}
	at := func(i int) uint64 {
		return uint64(b[i]) | uint64(b[i+1])<<8 | uint64(b[i+2])<<16 | uint64(b[i+3])<<24
	}
	return at(12)<<32 | at(4), at(16)<<32 | at(8), true
}

func boundingSet() (set uint64) {
	const capbsetRead = 23
	for c := range uintptr(64) {
		has, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, capbsetRead, c, 0)
		if errno != 0 {
			break // there is no such capability
		}
		set |= uint64(has&1) << c
	}
	return set
}
