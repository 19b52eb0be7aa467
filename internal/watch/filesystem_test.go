//go:build linux

package watch

import (
	"testing"

	"golang.org/x/sys/unix"
)

func TestSilentFileSystem(t *testing.T) {
	for _, tt := range []struct {
		magic uint32
		want  string
	}{
		{unix.NFS_SUPER_MAGIC, "nfs"},
		{unix.SMB_SUPER_MAGIC, "smb"},
		{unix.CIFS_SUPER_MAGIC, "smb"},
		{unix.SMB2_SUPER_MAGIC, "smb"},
		{unix.V9FS_MAGIC, "9p"},
		{unix.FUSE_SUPER_MAGIC, "fuse"},
		{unix.OVERLAYFS_SUPER_MAGIC, "overlay"},
		{unix.CEPH_SUPER_MAGIC, "ceph"},
		{unix.AFS_SUPER_MAGIC, "afs"},
		{unix.AFS_FS_MAGIC, "afs"},
		{unix.CODA_SUPER_MAGIC, "coda"},
		{unix.OCFS2_SUPER_MAGIC, "ocfs2"},
		{unix.EXT4_SUPER_MAGIC, ""},
		{unix.XFS_SUPER_MAGIC, ""},
		{unix.BTRFS_SUPER_MAGIC, ""},
		{unix.TMPFS_MAGIC, ""},
	} {
		if got := SilentFileSystem(tt.magic); got != tt.want {
			t.Errorf("%#x is %q, expected %q", tt.magic, got, tt.want)
		}
	}
}
