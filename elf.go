package autorestart

import (
	"bytes"
	"errors"
	"io"
	"strconv"
)

// elfImage is what the headers of an ELF file tell, as far as it decides
// whether the file can be executed here. See elf(5).
type elfImage struct {
	class   byte   // EI_CLASS: 1 is 32 bit, 2 is 64 bit
	data    byte   // EI_DATA: 1 is little-endian, 2 is big-endian
	machine uint16 // e_machine
	interp  string // the dynamic loader it asks for; "" if it needs none

	// extent is the length that the headers say the file has at least. The
	// program headers alone are not enough: a file that lacks only its tail
	// would run, and die later. In what Go and the usual linkers write, the
	// sections end where the file ends.
	extent int64 // bytes
}

var (
	// errELFShort: every byte that is there is right, and some are missing.
	errELFShort = errors.New("an ELF file that is not complete")
	errNotELF   = errors.New("not an ELF file")
)

// badELF is an ELF file that no kernel would execute. Like [unfit] it is not
// inlined.
//
//go:noinline
func badELF(what string) error { return unfit("an ELF file with "+what, "an executable") }

const (
	elfMagic = "\x7fELF"

	elfTypeExec = 2
	elfTypeDyn  = 3

	elfSegmentLoad   = 1
	elfSegmentInterp = 3

	elfSectionNoBits = 8

	elfMaxInterp = 4096 // PATH_MAX, which the kernel applies too
	elfMaxExtent = 1 << 48
)

// elfLayout is where the fields lie; 32 and 64 bit files differ in nothing else.
type elfLayout struct {
	header, word       int // sizes
	entry              int
	segments, sections elfTable
}

// elfTable is where the header tells of a table, and the layout of its rows.
type elfTable struct {
	off, rowSize, rows            int // in the header
	row, kindAt, offsetAt, sizeAt int // size of a row, and fields in it
}

var elfLayouts = [3]elfLayout{
	1: {
		header: 52, word: 4, entry: 24,
		segments: elfTable{off: 28, rowSize: 42, rows: 44, row: 32, kindAt: 0, offsetAt: 4, sizeAt: 16},
		sections: elfTable{off: 32, rowSize: 46, rows: 48, row: 40, kindAt: 4, offsetAt: 16, sizeAt: 20},
	},
	2: {
		header: 64, word: 8, entry: 24,
		segments: elfTable{off: 32, rowSize: 54, rows: 56, row: 56, kindAt: 0, offsetAt: 8, sizeAt: 32},
		sections: elfTable{off: 40, rowSize: 58, rows: 60, row: 64, kindAt: 4, offsetAt: 24, sizeAt: 32},
	},
}

// elfFile is a file whose headers are read: r and size have to be set.
type elfFile struct {
	elfImage // what has been read, also if there was an error then
	r        io.ReaderAt
	size     int64 // bytes

	at     *elfLayout
	header []byte // the first bytes of any file
}

// parse reads the headers. Its errors are [errNotELF], [errELFShort], an
// *RejectedError without a path, or what r answers.
func (f *elfFile) parse() error {
	head := make([]byte, min(f.size, 64))
	f.header = head
	if err := readFull(f.r, head, 0); err != nil {
		return err
	}
	if n := min(len(head), len(elfMagic)); string(head[:n]) != elfMagic[:n] {
		return errNotELF
	}
	if len(head) < 16 {
		return errELFShort
	}
	f.class, f.data = head[4], head[5]
	if f.class != 1 && f.class != 2 {
		return badELF("class " + strconv.Itoa(int(f.class)))
	}
	if f.data != 1 && f.data != 2 {
		return badELF("data encoding " + strconv.Itoa(int(f.data)))
	}
	f.at = &elfLayouts[f.class]
	if len(head) < f.at.header {
		return errELFShort
	}
	f.machine = uint16(f.uint(head, 18, 2))
	if t := f.uint(head, 16, 2); t != elfTypeExec && t != elfTypeDyn {
		return badELF("type " + strconv.Itoa(int(t)) + ", not an executable")
	}
	if f.word(head, f.at.entry) == 0 {
		return badELF("no entry point, not an executable")
	}
	f.extent = int64(f.at.header)
	segments, err := f.table(&f.at.segments)
	if err != nil {
		return err
	}
	loads := false
	for ; len(segments) > 0; segments = segments[f.at.segments.row:] {
		kind, off, n := f.row(&f.at.segments, segments)
		if err := f.covers(off, n); err != nil {
			return err
		}
		switch kind {
		case elfSegmentLoad:
			loads = true
		case elfSegmentInterp:
			if err := f.readInterp(off, n); err != nil {
				return err
			}
		}
	}
	if !loads {
		return badELF("nothing to load")
	}
	// A file without section headers is complete with its segments.
	sections, err := f.table(&f.at.sections)
	if err != nil {
		return err
	}
	for ; len(sections) > 0; sections = sections[f.at.sections.row:] {
		kind, off, n := f.row(&f.at.sections, sections)
		if kind == elfSectionNoBits {
			continue
		}
		if err := f.covers(off, n); err != nil {
			return err
		}
	}
	if f.size < f.extent {
		return errELFShort
	}
	return nil
}

// uint returns a number in a header. Nobody waits for it, so it is small rather
// than fast.
//
//go:noinline
func (f *elfFile) uint(b []byte, off, size int) uint64 {
	var n uint64
	for i := range size {
		at := off + i
		if f.data == 1 {
			at = off + size - 1 - i
		}
		n = n<<8 | uint64(b[at])
	}
	return n
}

func (f *elfFile) word(b []byte, off int) uint64 { return f.uint(b, off, f.at.word) }

// table reads a table of headers and counts it to the extent. Its length is a
// multiple of the size of a row.
func (f *elfFile) table(t *elfTable) ([]byte, error) {
	off, rows, rowSize := f.word(f.header, t.off), f.uint(f.header, t.rows, 2), f.uint(f.header, t.rowSize, 2)
	if off == 0 || rows == 0 {
		return nil, nil
	}
	if rowSize != uint64(t.row) {
		return nil, badELF("header tables of an unknown form")
	}
	if err := f.covers(off, rows*rowSize); err != nil {
		return nil, err
	}
	return f.read(off, rows*rowSize)
}

// row returns what the first row of a table tells: a type, and the place and the
// length of what it describes.
func (f *elfFile) row(t *elfTable, b []byte) (kind, off, n uint64) {
	return f.uint(b, t.kindAt, 4), f.word(b, t.offsetAt), f.word(b, t.sizeAt)
}

// covers counts n bytes at offset off to the extent.
func (f *elfFile) covers(off, n uint64) error {
	if off > elfMaxExtent || n > elfMaxExtent {
		return badELF("headers that point beyond any file")
	}
	if n > 0 {
		f.extent = max(f.extent, int64(off+n))
	}
	return nil
}

// read reads n bytes at offset off, which have been found small enough to add.
func (f *elfFile) read(off, n uint64) ([]byte, error) {
	if int64(off+n) > f.size {
		return nil, errELFShort
	}
	b := make([]byte, n)
	return b, readFull(f.r, b, int64(off))
}

// readInterp reads the NUL-terminated path of the dynamic loader.
func (f *elfFile) readInterp(off, n uint64) error {
	if n < 2 || n > elfMaxInterp {
		return badELF("a loader path of " + strconv.FormatUint(n, 10) + " bytes")
	}
	b, err := f.read(off, n)
	if err != nil {
		return err
	}
	if b[n-1] != 0 {
		return badELF("a loader path without an end")
	}
	// Who sets a shorter path in place leaves several NULs.
	f.interp = string(b[:bytes.IndexByte(b, 0)])
	return nil
}
