//go:build !linux || autorestart_portable

package sys

import (
	"os"
	"syscall"
)

// OpenRegular opens a regular file for reading. The descriptor is above the standard
// streams. Something else is not opened, unless it takes the place of a file between two
// system calls. The errors are [*os.PathError]s; for what is no regular file they wrap
// [ErrNotRegular].
func OpenRegular(path string) (*os.File, error) {
	st, err := Stat(path)
	if err = checkRegular(path, st, err); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	st, err = StatFile(f)
	if err = checkRegular(path, st, err); err != nil {
		f.Close()
		return nil, err
	}
	if int(f.Fd()) >= firstAboveStandard {
		return f, nil
	}
	defer f.Close()
	fd, err := DuplicateFile(f)
	if err != nil {
		return nil, err
	}
	return fd.File(path), nil
}

func checkRegular(path string, st FileStat, err error) error {
	if err == nil && !st.Regular {
		err = &os.PathError{Op: "open", Path: path, Err: ErrNotRegular}
	}
	return err
}
