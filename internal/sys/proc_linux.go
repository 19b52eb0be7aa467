//go:build !autorestart_portable

// Reading files of proc(5).

package sys

import (
	"bytes"
	"os"
	"syscall"
	"unsafe"
)

// ReadSmall reads the file into buf and returns what there is of it, at most
// cap(buf) bytes. The files that it is for are made in one piece by one read.
func ReadSmall(path string, buf []byte) ([]byte, error) {
	return readProc(path, buf[:0], cap(buf), false)
}

// ReadAll appends the file to buf, which is empty, up to most bytes.
func ReadAll(path string, buf []byte, most int) ([]byte, error) {
	return readProc(path, buf, most, true)
}

// ReadMounts reads a file like OwnMounts.
func ReadMounts(path string) ([]byte, error) {
	const most = 32 << 20 // 100,000 mounts, as many as the kernel allows by default
	return ReadAll(path, make([]byte, 0, 4096), most)
}

// OwnMounts lists the mounts that this process sees.
const OwnMounts = "/proc/self/mountinfo"

// readProc reads without Go's poller, which has nothing to wait for in /proc. Nor
// has a signal anything to interrupt. The calls are those of package syscall, which
// every program has. There is no way to read a file without a limit.
func readProc(path string, buf []byte, most int, whole bool) ([]byte, error) {
	fd, err := OpenProc(path)
	if err != nil {
		return buf, err
	}
	for {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := syscall.Read(fd, buf[len(buf):min(cap(buf), most)])
		buf = buf[:len(buf)+max(n, 0)]
		if n <= 0 || !whole || len(buf) == most {
			syscall.Close(fd)
			return buf, PathError("read", path, err)
		}
	}
}

// ReadNumbered lists the entries of a directory that are numbers: the processes
// of /proc, the threads of /proc/self/task, the descriptors of /proc/self/fd.
func ReadNumbered(path string) (numbers []int, err error) {
	fd, err := OpenProc(path)
	if err != nil {
		return nil, err
	}
	buf := make([]byte, 32<<10)
	for {
		n, err := syscall.ReadDirent(fd, buf)
		if n <= 0 {
			syscall.Close(fd)
			return numbers, PathError("readdirent", path, err)
		}
		numbers = parseDirents(buf[:n], numbers)
	}
}

// parseDirents appends the names that are numbers. A record, by getdents64(2),
// is: inode and offset of eight bytes each, length of the record in two, type in
// one, name, NUL.
func parseDirents(b []byte, numbers []int) []int {
	const lengthAt, nameAt = 16, 19
	for len(b) > nameAt {
		length := int(*(*uint16)(unsafe.Pointer(&b[lengthAt])))
		if length <= nameAt || length > len(b) {
			return numbers
		}
		name := b[nameAt:length]
		if end := bytes.IndexByte(name, 0); end >= 0 {
			name = name[:end]
		}
		if n, ok := ParseDecimal(name); ok && n < 1<<31 {
			numbers = append(numbers, int(n))
		}
		b = b[length:]
	}
	return numbers
}

// OpenProc opens a file for reading. The caller owns the descriptor.
func OpenProc(path string) (int, error) {
	fd, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_CLOEXEC|syscall.O_NOCTTY, 0)
	return fd, PathError("open", path, err)
}

// PathError returns err as an [*os.PathError], and nil as nil.
func PathError(op, path string, err error) error {
	if err == nil {
		return nil
	}
	return &os.PathError{Op: op, Path: path, Err: err}
}

// ParseDecimal takes up to 18 digits and nothing else.
func ParseDecimal(b []byte) (uint64, bool) {
	if len(b) == 0 || len(b) > 18 {
		return 0, false
	}
	var n uint64
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	return n, true
}
