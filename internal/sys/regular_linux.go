//go:build !autorestart_portable

// Opening a file that another user may have put there.
//
//	call            since    without it
//	O_PATH          2.6.39   -
//	/proc/self/fd   2.2      what is opened by its path may be another file than what was looked at

package sys

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// OpenRegular opens a regular file for reading. The descriptor is close-on-exec and above
// the standard streams. It opens nothing else: an open of a terminal may make it the
// controlling terminal, one of a device may rewind a tape, and one of a FIFO lets a
// writer go on. The errors are [*os.PathError]s; for what is no regular file they wrap
// [ErrNotRegular].
func OpenRegular(path string) (*os.File, error) {
	fd, err := openRegular(path)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return fd.File(path), nil
}

func openRegular(path string) (*FD, error) {
	there, err := Open(path, unix.O_PATH)
	if err != nil {
		return nil, err
	}
	defer there.Close()
	if err := checkRegular(there); err != nil {
		return nil, err
	}
	byNumber := "/proc/self/fd/" + strconv.Itoa(there.Int())
	fd, err := openToRead(byNumber)
	if err == nil || isThere(byNumber) {
		return fd, err
	}
	// There is no /proc, or it can't be searched.
	if fd, err = openToRead(path); err != nil {
		return nil, err
	}
	if err = checkRegular(fd); err != nil {
		fd.Close()
	}
	return fd, err
}

// openToRead does not wait for a process that holds a lease.
func openToRead(path string) (*FD, error) {
	fd, err := Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY)
	if err == nil {
		unix.FcntlInt(uintptr(fd.Int()), unix.F_SETFL, 0) // O_NONBLOCK would have Go's poller try it
	}
	return fd, err
}

// Open wraps open(2). The descriptor is close-on-exec and above the standard streams.
func Open(path string, flags int) (*FD, error) {
	return AboveStandard(IgnoringEINTR(func() (int, error) { return unix.Open(path, flags|unix.O_CLOEXEC, 0) }))
}

func checkRegular(fd *FD) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd.Int(), &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return ErrNotRegular
	}
	return nil
}

func isThere(path string) bool {
	_, err := Stat(path)
	return err == nil
}
