package autorestart

import (
	"bytes"
	"hash/maphash"
	"io"
	"os"
	"strconv"
)

// fileID tells one state of one file from every other: a file that has been
// replaced, written, touched or chmod-ed has another one.
type fileID struct {
	dev, ino     uint64
	size         int64 // bytes
	mtime, ctime int64 // nanoseconds since 1970
	uid, gid     uint32
	perm         uint32 // the lower twelve bits of the mode
	regular      bool
}

// notComparable, as a field, spares a struct that nobody compares the function
// for it, which the compiler otherwise adds to each program: 300 bytes.
type notComparable [0]func()

// version is the content that a candidate is compared with. Events and time
// stamps only say that there may be something new; whether there is, the bytes
// decide.
type version struct {
	_    notComparable
	id   fileID
	file *os.File // the content, where nobody can write it; owned
	sum  uint64   // of the content, where file is nil and summed is true

	summed bool

	known BuildInfo // empty until it is asked for, where there is a file to ask

	// runs: it is the file that this process executes, and as long as it does
	// nobody can write that.
	runs bool
}

func (v *version) build() BuildInfo {
	if v.known.ID == "" && v.file != nil {
		v.known = readBuild(v.file, v.id.size)
	}
	return v.known
}

// setRunning makes v the version of this process's own image.
func (v *version) setRunning() {
	v.runs = executablesAreBusy
	if v.reopen(); v.file != nil {
		return
	}
	// All that is left to tell is the file that was at the launch path when the
	// process started, for as long as it is there.
	if f, err := openCandidate(self.launch.path); err == nil {
		v.remember(f)
		f.Close()
	}
}

// remember takes from f, which has to be in the state v.id, what will be asked
// for when f is gone.
func (v *version) remember(f *os.File) {
	v.known = readBuild(f, v.id.size)
	v.sum, v.summed = sumIfStill(f, v.id)
}

// reopen opens the running image if that has not succeeded yet: at the first
// attempt the table of descriptors may have been full.
func (v *version) reopen() {
	if v.file != nil {
		return
	}
	v.id = runningID()
	if f, err := openRunning(); err == nil {
		v.file = f
	}
}

func (v *version) close() {
	if v.file != nil {
		v.file.Close()
		v.file = nil
	}
}

// sameContent reports whether f, which has the given identity, holds the same
// bytes as v.
func (v *version) sameContent(f *os.File, id fileID) (bool, error) {
	switch {
	case id == v.id, v.runs && id.dev == v.id.dev && id.ino == v.id.ino && id.ino != 0:
		return true, nil
	case id.size != v.id.size:
		return false, nil
	case v.file != nil:
		return equalContent(f, v.file, id.size)
	case v.summed:
		sum, err := contentSum(f, id.size)
		return err == nil && sum == v.sum, err
	default:
		return false, nil
	}
}

// equalContent compares the first size bytes. The first piece is small: two
// builds of one program differ in their build ID, a few hundred bytes in.
func equalContent(a, b io.ReaderAt, size int64) (bool, error) {
	buf := make([]byte, 2*4096)
	for off := int64(0); off < size; {
		half := len(buf) / 2
		n := int(min(int64(half), size-off))
		x, y := buf[:n], buf[half:half+n]
		if err := readFull(a, x, off); err != nil {
			return false, err
		}
		if err := readFull(b, y, off); err != nil {
			return false, err
		}
		if !bytes.Equal(x, y) {
			return false, nil
		}
		off += int64(n)
		if len(buf) < 2*64<<10 {
			buf = make([]byte, 2*64<<10)
		}
	}
	return true, nil
}

var sumSeed = maphash.MakeSeed()

func contentSum(r io.ReaderAt, size int64) (uint64, error) {
	var sum uint64
	buf := make([]byte, 64<<10)
	for off := int64(0); off < size; {
		piece := buf[:min(int64(len(buf)), size-off)]
		if err := readFull(r, piece, off); err != nil {
			return 0, err
		}
		sum = 31*sum + maphash.Bytes(sumSeed, piece)
		off += int64(len(piece))
	}
	return sum, nil
}

// sumIfStill sums f, unless f is not, or by the end no longer, in the state id.
func sumIfStill(f *os.File, id fileID) (sum uint64, ok bool) {
	sum, err := contentSum(f, id.size)
	if err != nil {
		return 0, false
	}
	now, err := statFile(f)
	return sum, err == nil && now == id
}

// readFull fills b from offset off; a file that has become shorter meanwhile is
// [io.ErrUnexpectedEOF].
func readFull(r io.ReaderAt, b []byte, off int64) error {
	n, err := r.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// contentMark is another one once the file has been written, replaced or touched.
func contentMark(id fileID) string {
	return hexFields(id.dev, id.ino, uint64(id.size), uint64(id.mtime))
}

func hexFields(numbers ...uint64) string {
	var b []byte
	for _, n := range numbers {
		b = append(strconv.AppendUint(b, n, 16), '/')
	}
	return string(b)
}
