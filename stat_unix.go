//go:build unix

package autorestart

import (
	"os"

	"golang.org/x/sys/unix"
)

// statPath wraps stat(2).
func statPath(path string) (fileID, error) {
	var st unix.Stat_t
	for {
		if err := unix.Stat(path, &st); err != unix.EINTR {
			return fileIDOf(&st, "stat", path, err)
		}
	}
}

// statFile wraps fstat(2). Fd leaves the mode of a regular file alone, here and
// elsewhere.
func statFile(f *os.File) (fileID, error) {
	var st unix.Stat_t
	err := unix.Fstat(int(f.Fd()), &st)
	return fileIDOf(&st, "fstat", f.Name(), err)
}

// fileIDOf returns what st tells, unless the call that was to fill it in failed.
func fileIDOf(st *unix.Stat_t, call, path string, err error) (id fileID, _ error) {
	if err != nil {
		return id, &os.PathError{Op: call, Path: path, Err: err}
	}
	id.dev = uint64(st.Dev)
	id.ino = uint64(st.Ino)
	id.size = int64(st.Size)
	id.mtime = st.Mtim.Nano()
	id.ctime = st.Ctim.Nano()
	id.uid = uint32(st.Uid)
	id.gid = uint32(st.Gid)
	id.perm = uint32(st.Mode) & 0o7777
	id.regular = st.Mode&unix.S_IFMT == unix.S_IFREG
	return id, nil
}
