package place

import (
	"bytes"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Extended attributes with a meaning of their own.
const (
	accessACL = "system.posix_acl_access"

	// These are about the content: those of the old file would be wrong.
	imaXattr = "security.ima"
	evmXattr = "security.evm"
)

// setAttributes gives a new file the owner, the mode, the ACL, the capabilities and the other extended attributes of
// another one, which may be open by its path alone. If like is nil, it is the file that is replaced, without its
// execute permissions. The order matters: a change of the owner clears the setuid bit and the capabilities.
func (p *Placement) setAttributes(to, like *os.File) error {
	mask := uint32(0o7777)
	if like == nil {
		like, mask = p.old, 0o666
	}
	var st, own unix.Stat_t
	if err := unix.Fstat(int(like.Fd()), &st); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	if err := unix.Fstat(int(to.Fd()), &own); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	path := p.Target()
	if st.Uid != own.Uid || st.Gid != own.Gid {
		if err := to.Chown(int(st.Uid), int(st.Gid)); err != nil {
			return &attributeError{path, ownerText(st.Uid, st.Gid), unwrapped(err)}
		}
	}
	wanted, err := xattrs(like)
	if err != nil {
		return err
	}
	if mask != 0o7777 {
		wanted = nil
	}
	inherited, err := xattrs(to) // the default ACL of the directory, for example
	if err != nil {
		return err
	}
	for name := range inherited {
		if _, ok := wanted[name]; !ok && (name == accessACL || strings.HasPrefix(name, "user.")) {
			unix.Fremovexattr(int(to.Fd()), name)
		}
	}
	mode := st.Mode & mask
	if err := unix.Fchmod(int(to.Fd()), mode); err != nil {
		return &attributeError{path, "the mode " + strconv.FormatUint(uint64(mode), 8), err}
	}
	for _, name := range sortedNames(wanted) {
		if value := wanted[name]; !bytes.Equal(inherited[name], value) || inherited[name] == nil {
			if err := unix.Fsetxattr(int(to.Fd()), name, value, 0); err != nil {
				return &attributeError{path, "the attribute " + name, err}
			}
		}
	}
	if err := unix.Fstat(int(to.Fd()), &own); err != nil || own.Mode&0o7777 != mode {
		return &attributeError{path, "the mode " + strconv.FormatUint(uint64(mode), 8), unix.EPERM}
	}
	return nil
}

// sortedNames returns the names of attributes, the ACL first: it may change the mode.
func sortedNames(attributes map[string][]byte) (names []string) {
	for name := range attributes {
		names = append(names, name)
	}
	slices.Sort(names)
	slices.SortStableFunc(names, func(a, b string) int {
		switch {
		case a == accessACL:
			return -1
		case b == accessACL:
			return 1
		}
		return 0
	})
	return names
}

// xattrs returns the extended attributes of a file, which may be open by its path alone; none if the file system has
// none.
func xattrs(f *os.File) (map[string][]byte, error) {
	path := "/proc/self/fd/" + strconv.Itoa(int(f.Fd()))
	size, err := unix.Listxattr(path, nil)
	if err == unix.ENOTSUP || err == unix.ENOSYS || err == nil && size == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, os.NewSyscallError("listxattr", err)
	}
	list := make([]byte, size+1024)
	if size, err = unix.Listxattr(path, list); err != nil {
		return nil, os.NewSyscallError("listxattr", err)
	}
	attributes := map[string][]byte{}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(list[:size]), "\x00"), "\x00") {
		if name == imaXattr || name == evmXattr {
			continue
		}
		value := make([]byte, 64<<10) // the most that the kernel takes
		n, err := unix.Getxattr(path, name, value)
		switch err {
		case nil:
			attributes[name] = value[:n]
		case unix.ENODATA, unix.ENOTSUP:
		default:
			return nil, os.NewSyscallError("getxattr "+name, err)
		}
	}
	return attributes, nil
}

func unwrapped(err error) error {
	if e, ok := err.(*os.PathError); ok {
		return e.Err
	}
	return err
}
