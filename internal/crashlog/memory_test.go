package crashlog

import (
	"errors"
	"io"
	"slices"
)

// memory is a File without a kernel.
type memory struct{ b []byte }

func (m *memory) ReadAt(b []byte, offset int64) (int, error) {
	n := 0
	if offset < int64(len(m.b)) {
		n = copy(b, m.b[offset:])
	}
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (m *memory) WriteAt(b []byte, offset int64) (int, error) {
	if more := int(offset) + len(b) - len(m.b); more > 0 {
		m.b = append(m.b, make([]byte, more)...)
	}
	return copy(m.b[offset:], b), nil
}

// zero is Discard of the first n bytes behind the offset, as far as there are so many.
func (m *memory) zero(offset int64, n int) {
	clear(m.b[min(int(offset), len(m.b)):min(int(offset)+n, len(m.b))])
}

// memories returns two empty files.
func memories() [2]*memory { return [2]*memory{{}, {}} }

func asFiles[F File](files [2]F) [2]File { return [2]File{files[0], files[1]} }

// copied returns files with the same content.
func copied(files [2]*memory) [2]*memory {
	return [2]*memory{{slices.Clone(files[0].b)}, {slices.Clone(files[1].b)}}
}

// A fault decides how many of n bytes are written before a call fails; n and nil if it
// does not.
type fault func(n int) (int, error)

// faulty is a File whose writes fail.
type faulty struct {
	*memory
	fault fault
}

func (f *faulty) WriteAt(b []byte, offset int64) (int, error) {
	n, err := f.fault(len(b))
	if n > 0 {
		f.memory.WriteAt(b[:n], offset)
	}
	return n, err
}

// discarding is a faulty File that gives memory back.
type discarding struct{ *faulty }

func (f discarding) Discard(offset int64) error {
	n, err := f.fault(max(0, len(f.b)-int(offset)))
	f.zero(offset, n)
	return err
}

// faultyFiles returns files with the content of others, which fail in the same way.
func faultyFiles(files [2]*memory, fault fault, discards bool) [2]File {
	if discards {
		return [2]File{discarding{&faulty{files[0], fault}}, discarding{&faulty{files[1], fault}}}
	}
	return [2]File{&faulty{files[0], fault}, &faulty{files[1], fault}}
}

var errCrash = errors.New("the process was killed")

// crashAfter returns the fault of a process that is killed after it has written some bytes.
func crashAfter(left int) fault {
	return func(n int) (int, error) {
		if n > left {
			n, left = left, -1
			return max(0, n), errCrash
		}
		left -= n
		return n, nil
	}
}

// recordingWrites returns a fault that is none, and appends how many bytes had been written
// before each call, and at its end.
func recordingWrites(moments *[]int) fault {
	total := 0
	return func(n int) (int, error) {
		*moments = append(*moments, total, total+n)
		total += n
		return n, nil
	}
}
