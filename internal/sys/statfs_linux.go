//go:build !autorestart_portable

package sys

import "golang.org/x/sys/unix"

// FileSystemType returns the type of the file system of the path, see statfs(2).
func FileSystemType(path string) (magic uint32, err error) {
	var st unix.Statfs_t
	err = RetryEINTR(func() error { return unix.Statfs(path, &st) })
	return uint32(st.Type), err
}
