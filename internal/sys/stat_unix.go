//go:build unix

package sys

import (
	"os"

	"golang.org/x/sys/unix"
)

// Stat wraps stat(2). Its errors are [*os.PathError]s.
func Stat(path string) (FileStat, error) {
	var st unix.Stat_t
	err := RetryEINTR(func() error { return unix.Stat(path, &st) })
	return fileStat(&st, "stat", path, err)
}

// Lstat wraps lstat(2). Its errors are [*os.PathError]s.
func Lstat(path string) (LinkStat, error) {
	var st unix.Stat_t
	err := RetryEINTR(func() error { return unix.Lstat(path, &st) })
	file, err := fileStat(&st, "lstat", path, err)
	kind := st.Mode & unix.S_IFMT
	return LinkStat{FileStat: file, Directory: kind == unix.S_IFDIR, Symlink: kind == unix.S_IFLNK}, err
}

// StatFile wraps fstat(2). Its errors are [*os.PathError]s.
func StatFile(f *os.File) (FileStat, error) {
	var st unix.Stat_t
	// Fd leaves the mode of a regular file alone, on this system and all others.
	err := unix.Fstat(int(f.Fd()), &st)
	return fileStat(&st, "fstat", f.Name(), err)
}

// StatDescriptor wraps fstat(2). Its errors are [*os.PathError]s.
func StatDescriptor(fd int) (FileStat, error) {
	var st unix.Stat_t
	err := RetryEINTR(func() error { return unix.Fstat(fd, &st) })
	return fileStat(&st, "fstat", "", err)
}

// fileStat converts st, unless the call that fills it in has failed.
func fileStat(st *unix.Stat_t, call, path string, err error) (FileStat, error) {
	if err != nil {
		return FileStat{}, &os.PathError{Op: call, Path: path, Err: err}
	}
	return FileStat{
		Dev:     uint64(st.Dev),
		Ino:     uint64(st.Ino),
		Size:    int64(st.Size),
		Mtime:   st.Mtim.Nano(),
		Ctime:   st.Ctim.Nano(),
		UID:     uint32(st.Uid),
		GID:     uint32(st.Gid),
		Perm:    uint32(st.Mode) & 0o7777,
		Regular: st.Mode&unix.S_IFMT == unix.S_IFREG,
	}, nil
}
