//go:build !autorestart_portable

package autorestart

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// silentFileSystem returns an error if changes to the directory can happen that
// inotify doesn't tell of, by its file system's type, statfs(2): on a server, in
// a process that serves it, or in a layer below.
func silentFileSystem(dir string) error {
	var st unix.Statfs_t
	err := unix.Statfs(dir, &st)
	for err == unix.EINTR {
		err = unix.Statfs(dir, &st)
	}
	if err != nil {
		return nil // gone meanwhile; arm finds out
	}
	name := silentType(uint32(st.Type))
	if name == "" {
		return nil
	}
	return &os.PathError{Op: "inotify", Path: dir, Err: errors.New("not every change is told of on " + name)}
}

// silentTypes are the file systems, by their types as in statfs(2), that can
// change behind the kernel's back.
var silentTypes = [...]struct {
	magic uint32
	name  string
}{
	{0x6969, "nfs"},
	{0x517b, "smb"}, {0xff534d42, "smb"}, {0xfe534d42, "smb"},
	{0x01021997, "9p"},
	{0x65735546, "fuse"},
	{0x794c7630, "overlay"},
	{0x00c36400, "ceph"},
	{0x5346414f, "afs"}, {0x6b414653, "afs"},
	{0x0bd00bd0, "lustre"},
	{0x01161970, "gfs2"},
	{0x7461636f, "ocfs2"},
	{0x73757245, "coda"},
	{0x786f4256, "vboxsf"},
}

// silentType returns the name of such a type, "" of any other.
func silentType(magic uint32) string {
	for _, t := range silentTypes {
		if t.magic == magic {
			return t.name
		}
	}
	return ""
}
