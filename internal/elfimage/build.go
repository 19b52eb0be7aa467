package elfimage

import (
	"encoding/binary"
	"io"
	"strings"
)

// Library is the module that this package is part of.
const Library = "github.com/autorestart-go/autorestart"

// A Build tells how a Go program was built, as far as the file says. All of it is
// empty for other programs, and for files without ELF sections. Of Go programs
// built before Go 1.18 only the ID is found.
type Build struct {
	ID      string // the Go build ID, which differs between any two builds
	Module  string // the path of the main module
	Version string // its version; "(devel)" if the go command didn't know it

	WithoutLibrary bool // the program is known not to contain [Library]
}

const (
	sectionProgBits = 1
	sectionNote     = 7

	sectionFlags    = 8 // the offset in a section header
	sectionWritable = 1

	noteHeader  = 12 // sizes of name and content, type
	noteName    = "Go\x00\x00"
	noteBuildID = 4 // the type of the note

	buildInfoMagic  = "\xff Go buildinf:"
	buildInfoSize   = 32      // of the header
	buildInfoFlags  = 15      // the offset in the header
	inlineStrings   = 0x02    // a flag: the strings follow the header
	maxBuildSection = 1 << 20 // one that names hundreds of modules has some ten thousand bytes
)

// ReadBuild reads how a file of the given size in bytes was built. It never fails:
// what can't be read stays empty.
func ReadBuild(r io.ReaderAt, size int64) (b Build) {
	f := file{r: r, size: size}
	if f.readHeader() != nil {
		return b
	}
	t := &f.layout.sections
	rows, err := f.readTable(t)
	if err != nil {
		return b
	}
	for ; len(rows) > 0; rows = rows[t.row:] {
		kind, off, n := f.row(t, rows)
		writable := f.word(rows, sectionFlags)&sectionWritable != 0
		if n < buildInfoSize || n > maxBuildSection || writable != (kind == sectionProgBits) {
			continue
		}
		switch {
		case kind == sectionNote && b.ID == "":
			if note, err := f.read(off, n); err == nil {
				b.ID = f.buildID(note)
			}
		case kind == sectionProgBits:
			head, err := f.read(off, buildInfoSize)
			if err != nil || !strings.HasPrefix(string(head), buildInfoMagic) {
				continue
			}
			if info, err := f.read(off, n); err == nil {
				b.Module, b.Version, b.WithoutLibrary = parseBuildInfo(info)
			}
			return b // the notes come before the data
		}
	}
	return b
}

// buildID returns the build ID in an ELF note of Go's, or "". The note has at least
// buildInfoSize bytes.
func (f *file) buildID(note []byte) string {
	size := f.order.Uint32(note[4:])
	content := note[noteHeader+len(noteName):]
	if f.order.Uint32(note) != uint32(len(noteName)) || f.order.Uint32(note[8:]) != noteBuildID ||
		string(note[noteHeader:][:len(noteName)]) != noteName || uint64(size) > uint64(len(content)) {
		return ""
	}
	return string(content[:size])
}

// parseBuildInfo returns path and version of the main module, and whether [Library]
// is not among the modules that the program was built from. In what the linker
// writes, the header is followed by the Go version and the module information, each
// with its length before it. The module information stands between two markers
// and has lines like "mod<TAB>path<TAB>version<TAB>sum", and "dep" likewise.
func parseBuildInfo(b []byte) (module, version string, withoutLibrary bool) {
	if b[buildInfoFlags]&inlineStrings == 0 {
		return "", "", false
	}
	b = b[buildInfoSize:]
	var info string
	for range 2 {
		n, size := binary.Uvarint(b)
		if size <= 0 || n > uint64(len(b)-size) {
			return "", "", false
		}
		info, b = string(b[size:][:n]), b[size+int(n):]
	}
	withoutLibrary = info != "" && !strings.Contains(info, "\t"+Library)
	if _, line, found := strings.Cut(info, "\nmod\t"); found {
		line, _, _ = strings.Cut(line, "\n")
		module, line, _ = strings.Cut(line, "\t")
		version, _, _ = strings.Cut(line, "\t")
	}
	return module, version, withoutLibrary
}
