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

// errELF is an ELF file that no kernel would execute.
type errELF string

func (e errELF) Error() string { return "an ELF file with " + string(e) }

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
	header, word                       int
	entry, phoff, shoff                int
	phentsize, phnum, shentsize, shnum int
	segment                            int // size of a program header
	segType, segOff, segSize           int
	section                            int // size of a section header
	secType, secOff, secSize           int
}

var elfLayouts = [3]elfLayout{
	1: {
		header: 52, word: 4, entry: 24, phoff: 28, shoff: 32,
		phentsize: 42, phnum: 44, shentsize: 46, shnum: 48,
		segment: 32, segType: 0, segOff: 4, segSize: 16,
		section: 40, secType: 4, secOff: 16, secSize: 20,
	},
	2: {
		header: 64, word: 8, entry: 24, phoff: 32, shoff: 40,
		phentsize: 54, phnum: 56, shentsize: 58, shnum: 60,
		segment: 56, segType: 0, segOff: 8, segSize: 32,
		section: 64, secType: 4, secOff: 24, secSize: 32,
	},
}

// elfFields reads numbers out of a header. Nobody waits for it, so it is small
// rather than fast.
type elfFields struct {
	b         []byte
	bigEndian bool
}

//go:noinline
func (f *elfFields) uint(off, size int) uint64 {
	var n uint64
	for i := range size {
		at := off + i
		if !f.bigEndian {
			at = off + size - 1 - i
		}
		n = n<<8 | uint64(f.b[at])
	}
	return n
}

// parseELF reads the headers of a file of the given size. Its errors are
// [errNotELF], [errELFShort], an errELF, or what r answers.
func parseELF(r io.ReaderAt, size int64) (elfImage, error) {
	var img elfImage
	var head [64]byte
	have := min(size, int64(len(head)))
	if err := readFull(r, head[:have], 0); err != nil {
		return img, err
	}
	if n := min(have, int64(len(elfMagic))); string(head[:n]) != elfMagic[:n] {
		return img, errNotELF
	}
	if have < 16 {
		return img, errELFShort
	}
	img.class, img.data = head[4], head[5]
	if img.class != 1 && img.class != 2 {
		return img, errELF("class " + strconv.Itoa(int(img.class)))
	}
	if img.data != 1 && img.data != 2 {
		return img, errELF("data encoding " + strconv.Itoa(int(img.data)))
	}
	at := &elfLayouts[img.class]
	if have < int64(at.header) {
		return img, errELFShort
	}
	h := elfFields{head[:], img.data == 2}
	img.machine = uint16(h.uint(18, 2))
	if t := h.uint(16, 2); t != elfTypeExec && t != elfTypeDyn {
		return img, errELF("type " + strconv.FormatUint(t, 10) + ", not an executable")
	}
	if h.uint(at.entry, at.word) == 0 {
		return img, errELF("no entry point, not an executable")
	}
	img.extent = int64(at.header)
	segments, err := img.table(r, size, h.uint(at.phoff, at.word), h.uint(at.phnum, 2), h.uint(at.phentsize, 2), at.segment)
	if err != nil {
		return img, err
	}
	loads := false
	for b := segments; len(b) > 0; b = b[at.segment:] {
		h.b = b
		off, n := h.uint(at.segOff, at.word), h.uint(at.segSize, at.word)
		if err := img.covers(off, n); err != nil {
			return img, err
		}
		switch h.uint(at.segType, 4) {
		case elfSegmentLoad:
			loads = true
		case elfSegmentInterp:
			if img.interp, err = readInterp(r, size, off, n); err != nil {
				return img, err
			}
		}
	}
	if !loads {
		return img, errELF("nothing to load")
	}
	// A file without section headers is complete with its segments.
	h.b = head[:]
	sections, err := img.sections(r, size, h)
	if err != nil {
		return img, err
	}
	for b := sections; len(b) > 0; b = b[at.section:] {
		h.b = b
		if h.uint(at.secType, 4) == elfSectionNoBits {
			continue
		}
		if err := img.covers(h.uint(at.secOff, at.word), h.uint(at.secSize, at.word)); err != nil {
			return img, err
		}
	}
	if size < img.extent {
		return img, errELFShort
	}
	return img, nil
}

// sections reads the table of section headers; h is the file's header.
func (img *elfImage) sections(r io.ReaderAt, size int64, h elfFields) ([]byte, error) {
	at := &elfLayouts[img.class]
	return img.table(r, size, h.uint(at.shoff, at.word), h.uint(at.shnum, 2), h.uint(at.shentsize, 2), at.section)
}

// covers counts n bytes at offset off to the extent.
func (img *elfImage) covers(off, n uint64) error {
	if off > elfMaxExtent || n > elfMaxExtent {
		return errELF("headers that point beyond any file")
	}
	if n > 0 {
		img.extent = max(img.extent, int64(off+n))
	}
	return nil
}

// table reads a table of headers and counts it to the extent. Its length is a
// multiple of the size of a row.
func (img *elfImage) table(r io.ReaderAt, size int64, off, rows, rowSize uint64, want int) ([]byte, error) {
	if off == 0 || rows == 0 {
		return nil, nil
	}
	if rowSize != uint64(want) {
		return nil, errELF("header tables of an unknown form")
	}
	if err := img.covers(off, rows*rowSize); err != nil {
		return nil, err
	}
	if int64(off+rows*rowSize) > size {
		return nil, errELFShort
	}
	b := make([]byte, rows*rowSize)
	return b, readFull(r, b, int64(off))
}

// readInterp reads the NUL-terminated path of the dynamic loader.
func readInterp(r io.ReaderAt, size int64, off, n uint64) (string, error) {
	if n < 2 || n > elfMaxInterp {
		return "", errELF("a loader path of " + strconv.FormatUint(n, 10) + " bytes")
	}
	if int64(off+n) > size {
		return "", errELFShort
	}
	b := make([]byte, n)
	if err := readFull(r, b, int64(off)); err != nil {
		return "", err
	}
	if b[n-1] != 0 {
		return "", errELF("a loader path without an end")
	}
	// Who sets a shorter path in place leaves several NULs.
	path, _, _ := bytes.Cut(b, []byte{0})
	return string(path), nil
}
