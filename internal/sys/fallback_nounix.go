//go:build !unix

package sys

import (
	"errors"
	"os"
)

// Descriptors don't cross an exec where there is none.

func closeDescriptor(int) error           { return errors.ErrUnsupported }
func Duplicate(int) (*FD, error)          { return nil, errors.ErrUnsupported }
func DuplicateFile(*os.File) (*FD, error) { return nil, errors.ErrUnsupported }

func (*FD) DuplicateOver(int) error                      { return errors.ErrUnsupported }
func Flags(int) (closeOnExec, nonblocking bool, _ error) { return false, false, errors.ErrUnsupported }

// WriteStderr writes to standard error.
func WriteStderr(b []byte) { os.Stderr.Write(b) }

// Stat tells of a file what [os.Stat] does. Its errors are [*os.PathError]s.
func Stat(path string) (FileStat, error) {
	info, err := os.Stat(path)
	return fileStat(info, err)
}

// Lstat tells of an entry what [os.Lstat] does. Its errors are [*os.PathError]s.
func Lstat(path string) (LinkStat, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return LinkStat{}, err
	}
	file, err := fileStat(info, err)
	return LinkStat{FileStat: file, Directory: info.IsDir(), Symlink: info.Mode()&os.ModeSymlink != 0}, err
}

// StatFile tells of an open file what [os.File.Stat] does. Its errors are
// [*os.PathError]s.
func StatFile(f *os.File) (FileStat, error) {
	info, err := f.Stat()
	return fileStat(info, err)
}

// StatDescriptor returns an error that wraps [errors.ErrUnsupported].
func StatDescriptor(int) (FileStat, error) { return FileStat{}, errors.ErrUnsupported }

func fileStat(info os.FileInfo, err error) (FileStat, error) {
	if err != nil {
		return FileStat{}, err
	}
	return FileStat{
		Size:    info.Size(),
		Mtime:   info.ModTime().UnixNano(),
		Perm:    uint32(info.Mode().Perm()),
		Regular: info.Mode().IsRegular(),
	}, nil
}

// IgnoringEINTR calls f: no signal interrupts it here.
func IgnoringEINTR[T any](f func() (T, error)) (T, error) { return f() }

// RetryEINTR calls f: no signal interrupts it here.
func RetryEINTR(f func() error) error { return f() }

// MayExecute returns nil: the mode does not say what can be executed here.
func MayExecute(string) error { return nil }

// IDs returns none: there are no other users from which the library protects the process here.
func IDs() (uid, euid, gid, egid int, ok bool) { return }
