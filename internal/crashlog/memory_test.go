package crashlog

import "io"

// memory is a File without a kernel.
type memory struct{ b []byte }

func (m *memory) ReadAt(b []byte, offset int64) (int, error) {
	if offset >= int64(len(m.b)) {
		return 0, io.EOF
	}
	n := copy(b, m.b[offset:])
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
