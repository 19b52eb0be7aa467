package elftest

import "io"

// A Meter is a sparse file: Content, and zeros up to Size. It counts what is read, and
// ends a parser that reads on and on.
type Meter struct {
	Content []byte
	Size    int64 // bytes

	Calls int
	Bytes int64 // read by all calls
}

// The limits at which a [Meter] ends a parser. They are far beyond those that tests assert.
const (
	endCalls = 2000
	endBytes = 64 << 20
)

type exceeded struct{}

// ReadAt fills b.
func (m *Meter) ReadAt(b []byte, off int64) (n int, err error) {
	if m.Calls++; m.Calls > endCalls || m.Bytes > endBytes {
		panic(exceeded{})
	}
	if off < m.Size {
		n = int(min(int64(len(b)), m.Size-off))
		clear(b[:n])
		if off < int64(len(m.Content)) {
			copy(b[:n], m.Content[off:])
		}
	}
	m.Bytes += int64(n)
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// Run counts what parse reads. It reports whether parse has returned.
func (m *Meter) Run(parse func()) (returned bool) {
	m.Calls, m.Bytes = 0, 0
	defer func() {
		if e := recover(); e != nil && e != (any)(exceeded{}) {
			panic(e)
		}
	}()
	parse()
	return true
}
