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
		err := unix.Stat(path, &st)
		switch err {
		case nil:
			return fileIDOf(&st), nil
		case unix.EINTR:
		default:
			return fileID{}, &os.PathError{Op: "stat", Path: path, Err: err}
		}
	}
}

// statFile wraps fstat(2).
func statFile(f *os.File) (fileID, error) {
	fd, err := fileDescriptor(f)
	if err != nil {
		return fileID{}, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fileID{}, &os.PathError{Op: "fstat", Path: f.Name(), Err: err}
	}
	return fileIDOf(&st), nil
}

// fileDescriptor returns the number of f's descriptor, which f keeps: the caller
// must not let go of f while using it. Unlike Fd it leaves the mode of f alone.
func fileDescriptor(f *os.File) (n int, err error) {
	conn, err := f.SyscallConn()
	if err == nil {
		err = conn.Control(func(fd uintptr) { n = int(fd) })
	}
	return n, err
}

func fileIDOf(st *unix.Stat_t) fileID {
	return fileID{
		dev:     uint64(st.Dev),
		ino:     uint64(st.Ino),
		size:    int64(st.Size),
		mtime:   st.Mtim.Nano(),
		ctime:   st.Ctim.Nano(),
		uid:     uint32(st.Uid),
		gid:     uint32(st.Gid),
		perm:    uint32(st.Mode) & 0o7777,
		regular: st.Mode&unix.S_IFMT == unix.S_IFREG,
	}
}

// writeStderr is os.Stderr.Write, but that a reader who is gone does not end the
// process by SIGPIPE: that would be a restart of the wrong kind.
func writeStderr(b []byte) {
	if fd, err := fileDescriptor(os.Stderr); err == nil {
		unix.Write(fd, b)
	}
}
