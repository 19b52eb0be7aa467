package autorestart

import (
	"encoding/binary"
	"io"
	"strings"
)

// BuildInfo tells how a Go program was built, as far as the file says: all of it is
// empty for other programs, and for files without ELF sections.
//
// It is read here and not by debug/buildinfo, because importing that would add
// 200 kB to each program. Of Go programs built before Go 1.18 only the ID is
// found.
type BuildInfo struct {
	ID      string // the Go build ID, which differs between any two builds
	Module  string // the path of the main module
	Version string // its version; "(devel)" if the go command didn't know it

	foreign bool // it is known that this package is not in it
}

// String returns the version, or the last part of the ID where the version
// doesn't tell one build from another, or "unknown".
//
//go:noinline
func (b BuildInfo) String() string {
	switch {
	case b.Version != "" && b.Version != "(devel)":
		return b.Version
	case b.ID != "":
		return b.ID[strings.LastIndexByte(b.ID, '/')+1:]
	default:
		return "unknown"
	}
}

const modulePath = "github.com/autorestart-go/autorestart"

const (
	elfSectionProgBits = 1
	elfSectionNote     = 7

	elfSectionFlags    = 8 // where they lie in a header
	elfSectionWritable = 1

	goBuildIDNote    = 4 // the type of the note, under the name "Go"
	goBuildInfoMagic = "\xff Go buildinf:"
	goBuildInfoSize  = 32   // of the header
	goInlineStrings  = 0x02 // a flag in the header: the strings follow it

	maxBuildSection = 1 << 20 // what names hundreds of modules has some ten thousand
)

// readBuild never fails: what can't be read is not told.
func readBuild(r io.ReaderAt, size int64) (b BuildInfo) {
	f := elfFile{r: r, size: size}
	if f.parse() != nil {
		return b
	}
	t := &f.at.sections
	rows, err := f.table(t)
	if err != nil {
		return b
	}
	for ; len(rows) > 0; rows = rows[t.row:] {
		kind, off, n := f.row(t, rows)
		writable := f.word(rows, elfSectionFlags)&elfSectionWritable != 0
		if n < goBuildInfoSize || n > maxBuildSection || writable != (kind == elfSectionProgBits) {
			continue
		}
		switch {
		case kind == elfSectionNote && b.ID == "":
			if note, err := f.read(off, n); err == nil {
				b.ID = f.goBuildID(note)
			}
		case kind == elfSectionProgBits:
			head, err := f.read(off, goBuildInfoSize)
			if err != nil || !strings.HasPrefix(string(head), goBuildInfoMagic) {
				continue
			}
			if info, err := f.read(off, n); err == nil {
				b.Module, b.Version, b.foreign = parseBuildInfo(info)
			}
			return b // the notes come before the data
		}
	}
	return b
}

// goBuildID returns the build ID in an ELF note of Go's, or "". The note has at
// least goBuildInfoSize bytes.
func (f *elfFile) goBuildID(note []byte) string {
	const header = 12 // sizes of name and content, type
	const name = "Go\x00\x00"
	size := f.uint(note, 4, 4)
	content := note[header+len(name):]
	if f.uint(note, 0, 4) != uint64(len(name)) || f.uint(note, 8, 4) != goBuildIDNote ||
		string(note[header:][:len(name)]) != name || size > uint64(len(content)) {
		return ""
	}
	return string(content[:size])
}

// parseBuildInfo returns path and version of the main module, and whether this
// module is not among those that the program was built from. After the header of
// what the linker writes come the Go version and the module information, each
// with its length before it. The latter stands between two markers of 16 bytes
// and has lines like "mod<TAB>path<TAB>version<TAB>sum", and "dep" likewise.
func parseBuildInfo(b []byte) (module, version string, foreign bool) {
	if b[15]&goInlineStrings == 0 {
		return "", "", false
	}
	b = b[goBuildInfoSize:]
	var info string
	for range 2 {
		n, size := binary.Uvarint(b)
		if size <= 0 || n > uint64(len(b)-size) {
			return "", "", false
		}
		info, b = string(b[size:][:n]), b[size+int(n):]
	}
	foreign = info != "" && !strings.Contains(info, "\t"+modulePath)
	if _, line, found := strings.Cut(info, "\nmod\t"); found {
		line, _, _ = strings.Cut(line, "\n")
		module, line, _ = strings.Cut(line, "\t")
		version, _, _ = strings.Cut(line, "\t")
	}
	return module, version, foreign
}
