//go:build unix

package autorestart

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/candidate"
)

// statPath wraps stat(2).
func statPath(path string) (candidate.ID, error) {
	var st unix.Stat_t
	for {
		if err := unix.Stat(path, &st); err != unix.EINTR {
			return fileIDOf(&st, "stat", path, err)
		}
	}
}

// statFile wraps fstat(2). Fd leaves the mode of a regular file alone, here and
// elsewhere.
func statFile(f *os.File) (candidate.ID, error) {
	var st unix.Stat_t
	err := unix.Fstat(int(f.Fd()), &st)
	return fileIDOf(&st, "fstat", f.Name(), err)
}

// fileIDOf returns what st tells, unless the call that was to fill it in failed.
func fileIDOf(st *unix.Stat_t, call, path string, err error) (id candidate.ID, _ error) {
	if err != nil {
		return id, &os.PathError{Op: call, Path: path, Err: err}
	}
	id.Dev = uint64(st.Dev)
	id.Ino = uint64(st.Ino)
	id.Size = int64(st.Size)
	id.Mtime = st.Mtim.Nano()
	id.Ctime = st.Ctim.Nano()
	id.UID = uint32(st.Uid)
	id.GID = uint32(st.Gid)
	id.Perm = uint32(st.Mode) & 0o7777
	id.Regular = st.Mode&unix.S_IFMT == unix.S_IFREG
	return id, nil
}

// writeStderr is os.Stderr.Write, but that a reader who is gone does not end the
// process by SIGPIPE: that would be a restart of the wrong kind.
func writeStderr(b []byte) {
	syscall.Write(int(os.Stderr.Fd()), b)
}
