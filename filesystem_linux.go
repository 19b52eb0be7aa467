//go:build !autorestart_portable

package autorestart

import (
	"os"

	"golang.org/x/sys/unix"
)

// silentFileSystem returns an error if changes to the directory can happen that
// inotify doesn't tell of, by its file system's type, statfs(2): on a server, in
// a process that serves it, or in a layer below.
func silentFileSystem(dir string) error {
	var st unix.Statfs_t
	_, err := ignoringEINTR(func() (struct{}, error) { return struct{}{}, unix.Statfs(dir, &st) })
	if err != nil {
		return nil // gone meanwhile; arm finds out
	}
	if name := silentType(uint32(st.Type)); name != "" {
		return &os.PathError{Op: "inotify", Path: dir, Err: errSilent(name)}
	}
	return nil
}

type errSilent string

func (e errSilent) Error() string {
	return "not every change is told of on " + string(e)
}

// silentType names the types of file systems, as in statfs(2), that can change
// behind the kernel's back.
func silentType(t uint32) string {
	switch t {
	case 0x6969:
		return "nfs"
	case 0x517b, 0xff534d42, 0xfe534d42:
		return "smb"
	case 0x01021997:
		return "9p"
	case 0x65735546:
		return "fuse"
	case 0x794c7630:
		return "overlay"
	case 0x00c36400:
		return "ceph"
	case 0x5346414f, 0x6b414653:
		return "afs"
	case 0x0bd00bd0:
		return "lustre"
	case 0x01161970:
		return "gfs2"
	case 0x7461636f:
		return "ocfs2"
	case 0x73757245:
		return "coda"
	case 0x786f4256:
		return "vboxsf"
	}
	return ""
}
