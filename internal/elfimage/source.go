package elfimage

import "io"

// A source is a file whose headers are read. The author of the file writes what the
// headers say, and they say what to read next. So nothing is read but by read, which
// allows a constant amount for each source, however the headers repeat or overlap.
// r and size have to be set.
type source struct {
	r    io.ReaderAt
	size int64  // bytes
	cost uint64 // of what was read, in bytes
}

const (
	// maxCost is twice the size of the largest table of sections. The largest cost of those
	// programs was a tenth of it.
	maxCost = 8 << 20

	// readCost is what a shorter read costs: on a disk each may be a seek. There are at
	// most 128 reads. The 1,152 programs of a Debian system with Go needed 12 at most.
	readCost = 64 << 10
)

// errCost is the error for a file whose headers lead to more than a parser reads.
const errCost = FormatError("headers that refer to more than 8 MiB")

// read reads n bytes at offset off. Its errors are errShort, errCost and those of r.
func (s *source) read(off, n uint64) ([]byte, error) {
	if size := uint64(s.size); off > size || n > size-off {
		return nil, errShort
	}
	cost := max(n, readCost)
	if cost > maxCost-s.cost {
		return nil, errCost
	}
	s.cost += cost
	b := make([]byte, n)
	return b, ReadFull(s.r, b, int64(off))
}

// ReadFull fills b from offset off. For a file that has become shorter meanwhile
// the error is [io.ErrUnexpectedEOF].
func ReadFull(r io.ReaderAt, b []byte, off int64) error {
	n, err := r.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}
