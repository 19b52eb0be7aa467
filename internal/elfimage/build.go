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
// built before Go 1.18 only the ID is found. A text of more than 4 KiB is not one that
// the go command writes, and left out.
type Build struct {
	ID      string // the Go build ID, which differs between any two builds
	Module  string // the path of the main module
	Version string // its version; "(devel)" if the go command didn't know it

	// LibraryVersion is the version of [Library], as "v0.1.0" or a pseudo-version. It is
	// that of the replacement if the library is replaced. It is empty if the program was
	// built from a work tree of the library.
	LibraryVersion string

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
	infoMarker      = 16      // bytes before and after the module information
	maxText         = 4096    // bytes of an ID, or path and version; longer ones would fill logs
	maxBuildSection = 1 << 20 // one that names hundreds of modules has some ten thousand bytes
)

// ReadBuild reads how a file of the given size in bytes was built. It never fails:
// what can't be read stays empty.
func ReadBuild(r io.ReaderAt, size int64) (b Build) {
	f := file{source: source{r: r, size: size}}
	if f.readHeader() != nil {
		return b
	}
	t := &f.layout.sections
	rows, err := f.readTable(t)
	if err != nil {
		return b
	}
	otherLanguage := len(rows) > 0 // a packer may leave no sections
	for ; len(rows) > 0; rows = rows[t.row:] {
		kind, off, n := f.row(t, rows)
		writable := f.word(rows, sectionFlags)&sectionWritable != 0
		if n < buildInfoSize || writable != (kind == sectionProgBits) {
			continue
		}
		switch {
		case kind == sectionNote && b.ID == "" && n <= maxBuildSection:
			if note, err := f.read(off, n); err == nil {
				b.ID = f.buildID(note)
			}
		case kind == sectionProgBits:
			head, err := f.read(off, buildInfoSize)
			if err != nil {
				otherLanguage = false
				continue
			}
			if !strings.HasPrefix(string(head), buildInfoMagic) {
				continue
			}
			if n > maxBuildSection {
				return b
			}
			if info, err := f.read(off, n); err == nil {
				b.parseInfo(info)
			}
			return b // the notes come before the data
		}
	}
	// Go's linker puts build info into every program.
	b.WithoutLibrary = otherLanguage && b.ID == ""
	return b
}

// buildID returns the build ID in an ELF note of Go's, or "". The note has at least
// buildInfoSize bytes.
func (f *file) buildID(note []byte) string {
	size := f.order.Uint32(note[4:])
	content := note[noteHeader+len(noteName):]
	if f.order.Uint32(note) != uint32(len(noteName)) || f.order.Uint32(note[8:]) != noteBuildID ||
		string(note[noteHeader:][:len(noteName)]) != noteName || size > uint32(min(len(content), maxText)) {
		return ""
	}
	return string(content[:size])
}

// parseInfo sets what the section with the build info tells. In what the linker writes,
// the header is followed by the Go version and the module information, each with its
// length before it.
func (b *Build) parseInfo(section []byte) {
	if section[buildInfoFlags]&inlineStrings == 0 {
		return
	}
	section = section[buildInfoSize:]
	var info string
	for range 2 {
		n, size := binary.Uvarint(section)
		if size <= 0 || n > uint64(len(section)-size) {
			return
		}
		info, section = string(section[size:][:n]), section[size+int(n):]
	}
	// This is how package debug/buildinfo knows the markers.
	if end := len(info) - infoMarker; end > infoMarker && info[end-1] == '\n' {
		b.parseModules(info[infoMarker:end])
	}
}

// parseModules sets what the module information tells. It has lines like
// "mod<TAB>path<TAB>version<TAB>sum" for the main module, "dep" likewise for the others,
// and "=>" for the replacement of the module on the line before. In a test binary, whose line
// "path" ends with ".test", the other modules are missing.
func (b *Build) parseModules(info string) {
	b.WithoutLibrary = true
	ofLibrary := false // the last module
	isTest, hasModules := false, false
	defer func() {
		if isTest && !hasModules {
			b.WithoutLibrary = false // not known
		}
	}()
	for info != "" {
		var line string
		line, info, _ = strings.Cut(info, "\n")
		word, line, ok := strings.Cut(line, "\t")
		path, line, _ := strings.Cut(line, "\t")
		version, _, _ := strings.Cut(line, "\t")
		switch {
		case !ok || len(path)+len(version) > maxText:
			continue
		case word == "path":
			isTest = strings.HasSuffix(path, ".test")
			continue
		case word == "mod":
			b.Module, b.Version = path, version
			ofLibrary = isLibrary(path)
		case word == "dep":
			ofLibrary, hasModules = isLibrary(path), true
		case word == "=>":
			ofLibrary = ofLibrary || isLibrary(path)
		default:
			continue
		}
		if ofLibrary {
			b.WithoutLibrary = false
			b.LibraryVersion = version
			if version == "(devel)" {
				b.LibraryVersion = ""
			}
		}
	}
}

// isLibrary reports whether the path is that of [Library] or of another major version of
// it, like [Library]/v2, which reads what this one hands over.
func isLibrary(path string) bool {
	rest, found := strings.CutPrefix(path, Library)
	if major, ok := strings.CutPrefix(rest, "/v"); ok && major != "" {
		for rest = major; rest != "" && rest[0] >= '0' && rest[0] <= '9'; {
			rest = rest[1:]
		}
	}
	return found && rest == ""
}
