// Package elfimage reads what the headers of an executable file say: for which
// machine it is, which dynamic loader it needs, how long it is, and how Go built it.
//
// Packages debug/elf and debug/buildinfo read more, and would add 200 kB to each
// program.
package elfimage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strconv"
)

// An Image is what the headers of an ELF file say, as far as that decides whether
// the file can be executed here. See elf(5).
type Image struct {
	Class   byte   // EI_CLASS: 1 is 32 bit, 2 is 64 bit
	Data    byte   // EI_DATA: 1 is little-endian, 2 is big-endian
	Machine uint16 // e_machine
	Loader  string // the path of the dynamic loader; "" if the file needs none

	// Extent is the least length of the file by its headers. The program headers
	// alone are not enough: a file that lacks only its tail would run, and die later.
	// In the files that Go and the usual linkers write, the sections end where the
	// file ends.
	Extent int64 // bytes
}

// ErrNotELF is the error for a file of another format.
var ErrNotELF = errors.New("not an ELF file")

// An IncompleteError is the error for an ELF file that lacks bytes, all others
// being right.
type IncompleteError struct {
	Size   int64 // bytes that are there
	Extent int64 // bytes that have to be there by the headers read so far
}

func (e *IncompleteError) Error() (found string) {
	return "an ELF file that is not complete (" + strconv.FormatInt(e.Size, 10) + " bytes)"
}

// A FormatError is the error for an ELF file that no kernel would execute, or whose
// headers refer to more than this package reads. It says what is wrong, as "class 3".
type FormatError string

func (e FormatError) Error() (found string) { return "an ELF file with " + string(e) }

// errShort becomes an [IncompleteError].
var errShort = errors.New("short")

// Parse reads the headers of a file of the given size in bytes. Its errors are
//   - [ErrNotELF]
//   - an [*IncompleteError]
//   - a [FormatError]
//   - any error of r.
func Parse(r io.ReaderAt, size int64) (Image, error) {
	f := file{source: source{r: r, size: size}}
	err := f.parse()
	return f.Image, err
}

const (
	magic = "\x7fELF"

	identSize = 16
	headSize  = 64 // of the larger class

	typeExec = 2
	typeDyn  = 3

	segmentLoad   = 1
	segmentInterp = 3

	sectionNoBits = 8

	maxSegments   = 64 << 10 // bytes of program headers, as the kernel has it
	maxLoaderPath = 4096     // PATH_MAX, which the kernel applies too
	maxExtent     = 1 << 48
)

// A layout holds the offsets of the fields of one class. 32 and 64 bit files differ
// in nothing else.
type layout struct {
	header, word       int // sizes
	entry              int
	segments, sections table
}

// A table holds the offsets of the fields in the header that describe a table, and
// of the fields in its rows.
type table struct {
	off, rowSize, rows            int // in the header
	row, kindAt, offsetAt, sizeAt int // the size of a row, and fields in it
}

var layouts = [3]layout{
	1: {
		header: 52, word: 4, entry: 24,
		segments: table{off: 28, rowSize: 42, rows: 44, row: 32, kindAt: 0, offsetAt: 4, sizeAt: 16},
		sections: table{off: 32, rowSize: 46, rows: 48, row: 40, kindAt: 4, offsetAt: 16, sizeAt: 20},
	},
	2: {
		header: 64, word: 8, entry: 24,
		segments: table{off: 32, rowSize: 54, rows: 56, row: 56, kindAt: 0, offsetAt: 8, sizeAt: 32},
		sections: table{off: 40, rowSize: 58, rows: 60, row: 64, kindAt: 4, offsetAt: 24, sizeAt: 32},
	},
}

// A file is a file whose headers are read.
type file struct {
	Image // what has been read, also after an error
	source

	head   []byte // the first bytes of a file of any format
	layout *layout
	order  binary.ByteOrder
}

// parse reads the headers. Its errors are those of [Parse].
func (f *file) parse() error {
	err := f.readHeader()
	if err == nil {
		err = f.readSegments()
	}
	if err == nil {
		err = f.readSections()
	}
	if err == nil && f.size < f.Extent {
		err = errShort
	}
	if err == errShort {
		return &IncompleteError{Size: f.size, Extent: f.Extent}
	}
	return err
}

func (f *file) readHeader() error {
	var err error
	if f.head, err = f.read(0, uint64(min(f.size, headSize))); err != nil {
		return err
	}
	if n := min(len(f.head), len(magic)); string(f.head[:n]) != magic[:n] {
		return ErrNotELF
	}
	if len(f.head) < identSize {
		return errShort
	}
	f.Class, f.Data = f.head[4], f.head[5]
	if f.Class != 1 && f.Class != 2 {
		return FormatError("class " + strconv.Itoa(int(f.Class)))
	}
	switch f.Data {
	case 1:
		f.order = binary.LittleEndian
	case 2:
		f.order = binary.BigEndian
	default:
		return FormatError("data encoding " + strconv.Itoa(int(f.Data)))
	}
	f.layout = &layouts[f.Class]
	if len(f.head) < f.layout.header {
		return errShort
	}
	f.Machine = f.order.Uint16(f.head[18:])
	if t := f.order.Uint16(f.head[16:]); t != typeExec && t != typeDyn {
		return FormatError("type " + strconv.Itoa(int(t)) + ", not an executable")
	}
	if f.word(f.head, f.layout.entry) == 0 {
		return FormatError("no entry point, not an executable")
	}
	f.Extent = int64(f.layout.header)
	return nil
}

func (f *file) readSegments() error {
	t := &f.layout.segments
	if rows := uint64(f.order.Uint16(f.head[t.rows:])); rows*uint64(t.row) > maxSegments {
		return FormatError(strconv.FormatUint(rows, 10) + " program headers")
	}
	segments, err := f.readTable(t)
	if err != nil {
		return err
	}
	loads, hasLoader := false, false
	for ; len(segments) > 0; segments = segments[t.row:] {
		kind, off, n := f.row(t, segments)
		if err := f.covers(off, n); err != nil {
			return err
		}
		switch {
		case kind == segmentLoad:
			loads = true
		case kind == segmentInterp && !hasLoader: // the kernel looks at no other
			hasLoader = true
			if err := f.readLoader(off, n); err != nil {
				return err
			}
		}
	}
	if !loads {
		return FormatError("nothing to load")
	}
	return nil
}

// readSections counts the sections to the extent. A file without section headers
// is complete with its segments.
func (f *file) readSections() error {
	t := &f.layout.sections
	sections, err := f.readTable(t)
	if err != nil {
		return err
	}
	for ; len(sections) > 0; sections = sections[t.row:] {
		kind, off, n := f.row(t, sections)
		if kind == sectionNoBits {
			continue
		}
		if err := f.covers(off, n); err != nil {
			return err
		}
	}
	return nil
}

// word returns the number at an offset that has the size of an address.
func (f *file) word(b []byte, off int) uint64 {
	if f.layout.word == 4 {
		return uint64(f.order.Uint32(b[off:]))
	}
	return f.order.Uint64(b[off:])
}

// readTable reads a table of headers and counts it to the extent. The length of the
// result is a multiple of the size of a row.
func (f *file) readTable(t *table) ([]byte, error) {
	off := f.word(f.head, t.off)
	rows, rowSize := uint64(f.order.Uint16(f.head[t.rows:])), uint64(f.order.Uint16(f.head[t.rowSize:]))
	if off == 0 || rows == 0 {
		return nil, nil
	}
	if rowSize != uint64(t.row) {
		return nil, FormatError("header tables of an unknown form")
	}
	if err := f.covers(off, rows*rowSize); err != nil {
		return nil, err
	}
	return f.read(off, rows*rowSize)
}

// row returns what the first row of a table says: a type, and offset and length of
// what the row describes.
func (f *file) row(t *table, b []byte) (kind uint32, off, n uint64) {
	return f.order.Uint32(b[t.kindAt:]), f.word(b, t.offsetAt), f.word(b, t.sizeAt)
}

// covers counts n bytes at offset off to the extent.
func (f *file) covers(off, n uint64) error {
	if off > maxExtent || n > maxExtent {
		return FormatError("headers that point beyond any file")
	}
	if n > 0 {
		f.Extent = max(f.Extent, int64(off+n))
	}
	return nil
}

// readLoader reads the NUL-terminated path of the dynamic loader.
func (f *file) readLoader(off, n uint64) error {
	if n < 2 || n > maxLoaderPath {
		return FormatError("a loader path of " + strconv.FormatUint(n, 10) + " bytes")
	}
	b, err := f.read(off, n)
	if err != nil {
		return err
	}
	if b[n-1] != 0 {
		return FormatError("a loader path without an end")
	}
	// A shorter path that was set in place leaves several NULs.
	f.Loader = string(b[:bytes.IndexByte(b, 0)])
	return nil
}
