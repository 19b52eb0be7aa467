//go:build unix

package handover

import (
	"errors"
	"math/rand/v2"
	"strconv"
	"syscall"
	"time"

	"github.com/autorestart-go/autorestart/internal/rawsys"
)

var errNoFile = errors.New("no temporary file for this process")

// EmptyFile is MemoryFile without content and seals.
func EmptyFile() (fd int, err error) { return emptyFile() }

// MemoryFile returns a descriptor, close-on-exec and above the standard streams, of a
// file without a name that holds b. The caller owns it. The content is sealed where the
// kernel can do that.
func MemoryFile(b []byte) (fd int, err error) { return MemoryFileOf(always(b)) }

// MemoryFileOf is [MemoryFile] with what content returns for the file.
func MemoryFileOf(content FileContent) (fd int, err error) {
	fd, err = writtenFile(content)
	if err == nil {
		seal(fd)
	}
	return fd, err
}

// writtenFile is MemoryFileOf, but that the content can be changed.
func writtenFile(content FileContent) (fd int, err error) {
	fd, err = emptyFile()
	if err != nil {
		return -1, err
	}
	if err := writeAll(fd, content(inMemory(fd))); err != nil {
		syscall.Close(fd)
		return -1, err
	}
	return fd, nil
}

// unlinkedFile returns a descriptor of an empty file without a name in the temporary
// directory. A process whose starter may have fewer rights has none: the directory, and the
// file system that it is on, could be the starter's.
func unlinkedFile() (fd int, err error) {
	if Tainted() {
		return -1, errNoFile
	}
	dir, _ := syscall.Getenv("TMPDIR")
	if dir == "" {
		dir = "/tmp"
	}
	path := dir + "/autorestart-" + strconv.FormatUint(rand.Uint64(), 36)
	fd, err = aboveStandard(rawsys.IgnoringEINTR(func() (int, error) {
		return syscall.Open(path, syscall.O_RDWR|syscall.O_CREAT|syscall.O_EXCL|syscall.O_CLOEXEC, 0o600)
	}))
	if err != nil {
		return -1, err
	}
	if _, err = rawsys.IgnoringEINTR(func() (int, error) { return 0, syscall.Unlink(path) }); err != nil {
		syscall.Close(fd)
		return -1, err
	}
	return fd, nil
}

func writeAll(fd int, b []byte) error {
	for len(b) > 0 {
		n, err := rawsys.IgnoringEINTR(func() (int, error) { return syscall.Write(fd, b) })
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// aboveStandard moves a descriptor that a system call has just returned above the
// standard streams.
func aboveStandard(fd int, err error) (int, error) {
	if err != nil || fd > 2 {
		return fd, err
	}
	defer syscall.Close(fd)
	return rawsys.Duplicate(fd)
}

var (
	errNotRegular = errors.New("not a file")
	errSparse     = errors.New("a file with holes")
	errTooLarge   = errors.New("a file that is too large")
)

// maxSparse is the size in bytes from which a file has to take room. What is handed over
// has taken as much from the image that wrote it. A forged file, which names a size and
// has no content, must not take more than that from this one.
const maxSparse = 1 << 20

// readAttempts is how often a part of a file is read, a pause apart, while memory is short:
// for a second. An image that can't read what was handed over to it loses everything.
const (
	readAttempts = 100
	readPause    = 10 * time.Millisecond
)

var pread = syscall.Pread // tests replace it

// ReadMemoryFile returns the whole content of a file that [MemoryFile] has returned, if it
// has at most the given number of bytes. The file offset stays.
func ReadMemoryFile(fd, most int) ([]byte, error) {
	var st syscall.Stat_t
	if err := syscall.Fstat(fd, &st); err != nil {
		return nil, err
	}
	const blockSize, compression = 512, 64 // of stat(2); of a file system that compresses
	switch size := int64(st.Size); {
	case st.Mode&syscall.S_IFMT != syscall.S_IFREG:
		return nil, errNotRegular
	case size > maxSparse && int64(st.Blocks)*blockSize < size/compression:
		return nil, errSparse
	case size > int64(most):
		return nil, errTooLarge
	}
	b := make([]byte, st.Size)
	for n := 0; n < len(b); {
		got, err := preadUnlessShort(fd, b[n:], int64(n))
		if err != nil {
			return nil, err
		}
		if got == 0 {
			return b[:n], nil
		}
		n += got
	}
	return b, nil
}

// preadUnlessShort is pread, and tries again while memory is short.
func preadUnlessShort(fd int, b []byte, offset int64) (n int, err error) {
	for attempt := 1; ; attempt++ {
		n, err = rawsys.IgnoringEINTR(func() (int, error) { return pread(fd, b, offset) })
		if !MayPass(err) || attempt == readAttempts {
			return n, err
		}
		time.Sleep(readPause)
	}
}
