package elfimage

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/autorestart-go/autorestart/internal/elfimage/elftest"
)

func isIncomplete(err error) bool {
	_, ok := err.(*IncompleteError)
	return ok
}

func TestParse(t *testing.T) {
	for name, parts := range elftest.Samples() {
		t.Run(name, func(t *testing.T) {
			b := parts.Build(nil)
			want := Image{
				Class: byte(parts.Class), Data: byte(parts.Data), Machine: uint16(parts.Machine),
				Loader: strings.TrimRight(parts.Loader, "\x00"), Extent: int64(len(b)),
			}
			if got, err := Parse(bytes.NewReader(b), int64(len(b))); err != nil || got != want {
				t.Errorf("got %+v, %v; want %+v", got, err, want)
			}
			// Bytes after the end of the executable do not count.
			longer := append(bytes.Clone(b), "payload"...)
			if got, err := Parse(bytes.NewReader(longer), int64(len(longer))); err != nil || got != want {
				t.Errorf("with a payload: got %+v, %v; want %+v", got, err, want)
			}
			for n := range b {
				if _, err := Parse(bytes.NewReader(b[:n]), int64(n)); !isIncomplete(err) {
					t.Errorf("cut to %d of %d bytes: %v", n, len(b), err)
				}
			}
		})
	}
}

func TestParseSpoiled(t *testing.T) {
	const incomplete = "an ELF file that is not complete"
	const beyond = "an ELF file with headers that point beyond any file"
	const unknownTable = "an ELF file with header tables of an unknown form"
	tests := []struct {
		name   string
		edit   func(*elftest.Parts)
		want32 string // "" is no error
		want64 string
	}{
		{"encoding 0", func(p *elftest.Parts) { p.Data = 0 }, "an ELF file with data encoding 0", "an ELF file with data encoding 0"},
		{"encoding 255", func(p *elftest.Parts) { p.Data = 255 }, "an ELF file with data encoding 255", "an ELF file with data encoding 255"},
		{"object file", func(p *elftest.Parts) { p.Type = elf.ET_REL },
			"an ELF file with type 1, not an executable", "an ELF file with type 1, not an executable"},
		{"core dump", func(p *elftest.Parts) { p.Type = elf.ET_CORE },
			"an ELF file with type 4, not an executable", "an ELF file with type 4, not an executable"},
		{"library", func(p *elftest.Parts) { p.Type, p.Entry = elf.ET_DYN, 0 },
			"an ELF file with no entry point, not an executable", "an ELF file with no entry point, not an executable"},
		{"no program headers", func(p *elftest.Parts) { p.Phnum = 0 },
			"an ELF file with nothing to load", "an ELF file with nothing to load"},
		{"no segment to load", func(p *elftest.Parts) { p.Progs[2].Kind = uint32(elf.PT_NOTE) },
			"an ELF file with nothing to load", "an ELF file with nothing to load"},

		{"phentsize 0", func(p *elftest.Parts) { p.Phentsize = 0 }, unknownTable, unknownTable},
		{"phentsize of the other class", func(p *elftest.Parts) { p.Phentsize ^= 32 ^ 56 }, unknownTable, unknownTable},
		{"shentsize 65535", func(p *elftest.Parts) { p.Shentsize = math.MaxUint16 }, unknownTable, unknownTable},
		{"phnum 1170", func(p *elftest.Parts) { p.Phnum = 1170 }, incomplete, incomplete},
		{"phnum 65535", func(p *elftest.Parts) { p.Phnum = math.MaxUint16 },
			"an ELF file with 65535 program headers", "an ELF file with 65535 program headers"},
		{"shnum 65535", func(p *elftest.Parts) { p.Shnum = math.MaxUint16 }, incomplete, incomplete},

		{"phoff beyond the file", func(p *elftest.Parts) { p.Phoff = 1 << 20 }, incomplete, incomplete},
		{"phoff at the limit", func(p *elftest.Parts) { p.Phoff = math.MaxUint32 }, incomplete, incomplete},
		{"phoff absurd", func(p *elftest.Parts) { p.Phoff = math.MaxUint64 }, incomplete, beyond},
		{"phoff negative", func(p *elftest.Parts) { p.Phoff = 1<<63 | 64 }, "an ELF file with nothing to load", beyond},
		{"shoff beyond the file", func(p *elftest.Parts) { p.Shoff = 1 << 20 }, incomplete, incomplete},
		{"shoff absurd", func(p *elftest.Parts) { p.Shoff = math.MaxUint64 }, incomplete, beyond},

		{"segment offset absurd", func(p *elftest.Parts) { p.Progs[2].Off = math.MaxUint64 }, incomplete, beyond},
		{"segment size absurd", func(p *elftest.Parts) { p.Progs[2].Size = math.MaxUint64 }, incomplete, beyond},
		{"segment that wraps around", func(p *elftest.Parts) { p.Progs[2].Off, p.Progs[2].Size = math.MaxUint64, 2 },
			incomplete, beyond},
		{"segment at the limit", func(p *elftest.Parts) { p.Progs[2].Off, p.Progs[2].Size = maxExtent, maxExtent },
			"", incomplete}, // 0 and 0 in 32 bits
		{"section one byte too long", func(p *elftest.Parts) { p.Sections[1].Off, p.Sections[1].Size = p.Shoff, 4*uint64(p.Shentsize)+1 },
			incomplete, incomplete},
		{"section of one byte behind the end", func(p *elftest.Parts) { p.Sections[1].Off, p.Sections[1].Size = p.Shoff+4*uint64(p.Shentsize), 1 },
			incomplete, incomplete},
		{"section offset absurd", func(p *elftest.Parts) { p.Sections[1].Off = math.MaxUint64 }, incomplete, beyond},
		{"sections that end elsewhere, without content", func(p *elftest.Parts) { p.Sections[1].Off, p.Sections[1].Size = 1<<20, 0 }, "", ""},

		{"loader path of 0 bytes", func(p *elftest.Parts) { p.Progs[1].Size = 0 },
			"an ELF file with a loader path of 0 bytes", "an ELF file with a loader path of 0 bytes"},
		{"loader path of 1 byte", func(p *elftest.Parts) { p.Progs[1].Size = 1 },
			"an ELF file with a loader path of 1 bytes", "an ELF file with a loader path of 1 bytes"},
		{"loader path longer than a path can be", func(p *elftest.Parts) { p.Progs[1].Size = 4097 },
			"an ELF file with a loader path of 4097 bytes", "an ELF file with a loader path of 4097 bytes"},
		{"loader path beyond the file", func(p *elftest.Parts) { p.Progs[1].Size = 4096 }, incomplete, incomplete},
		{"loader path without NUL", func(p *elftest.Parts) { p.Progs[1].Size-- },
			"an ELF file with a loader path without an end", "an ELF file with a loader path without an end"},
	}
	for _, class := range []elf.Class{elf.ELFCLASS32, elf.ELFCLASS64} {
		for _, data := range []elf.Data{elf.ELFDATA2LSB, elf.ELFDATA2MSB} {
			for _, test := range tests {
				want := test.want64
				if class == elf.ELFCLASS32 {
					want = test.want32
				}
				name := class.String() + "/" + data.String() + "/" + test.name
				b := elftest.New(class, data, elf.EM_NONE).Build(test.edit)
				var got string
				img, err := Parse(bytes.NewReader(b), int64(len(b)))
				if isIncomplete(err) {
					got = incomplete
				} else if err != nil {
					got = err.Error()
				}
				if got != want {
					t.Errorf("%s: got %q, want %q", name, got, want)
				}
				if isIncomplete(err) && img.Extent <= int64(len(b)) {
					t.Errorf("%s: said to be short with %d bytes of %d", name, len(b), img.Extent)
				}
			}
		}
	}
}

func TestParseHead(t *testing.T) {
	b := elftest.New(elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_X86_64).Build(nil)
	for _, test := range []struct {
		at   int
		to   byte
		want error
	}{
		{0, 0, ErrNotELF},
		{1, 'e', ErrNotELF},
		{3, 'G', ErrNotELF},
		{elf.EI_CLASS, 0, FormatError("class 0")},
		{elf.EI_CLASS, 3, FormatError("class 3")},
		{elf.EI_CLASS, 255, FormatError("class 255")},
		{elf.EI_VERSION, 9, nil}, // the kernel doesn't look
		{elf.EI_OSABI, 9, nil},   // FreeBSD's; Linux doesn't look
	} {
		head := bytes.Clone(b)
		head[test.at] = test.to
		if _, err := Parse(bytes.NewReader(head), int64(len(head))); !reflect.DeepEqual(err, test.want) {
			t.Errorf("byte %d = %d: %v, want %v", test.at, test.to, err, test.want)
		}
	}
	for _, test := range []struct {
		file string
		want error
	}{
		{"", &IncompleteError{Size: 0}},
		{"\x7f", &IncompleteError{Size: 1}},
		{"\x7fEL", &IncompleteError{Size: 3}},
		{"\x7fELF", &IncompleteError{Size: 4}},
		{"\x7fELF\x02\x01\x01", &IncompleteError{Size: 7}},
		{"\x7fELG", ErrNotELF},
		{"\x7fX", ErrNotELF},
		{"#", ErrNotELF},
		{"#!/bin/sh\n", ErrNotELF},
		{"\x00", ErrNotELF},
	} {
		if _, err := Parse(strings.NewReader(test.file), int64(len(test.file))); !reflect.DeepEqual(err, test.want) {
			t.Errorf("%q: %v, want %v", test.file, err, test.want)
		}
	}
}

func TestParseLoader(t *testing.T) {
	for _, test := range []struct{ stored, want string }{
		{"/\x00", "/"},
		{"/lib64/ld-linux-x86-64.so.2\x00", "/lib64/ld-linux-x86-64.so.2"},
		{"/lib/ld.so\x00\x00\x00\x00", "/lib/ld.so"}, // made shorter in place; the kernel reads up to the first NUL
		{"\x00\x00", ""},
		{strings.Repeat("x", 4095) + "\x00", strings.Repeat("x", 4095)},
	} {
		parts := elftest.New(elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_X86_64)
		parts.Loader = test.stored
		b := parts.Build(nil)
		img, err := Parse(bytes.NewReader(b), int64(len(b)))
		if err != nil || img.Loader != test.want {
			t.Errorf("%q: got %q, %v; want %q", test.stored, img.Loader, err, test.want)
		}
	}
}

// TestParseSectionHeaders: where there are none, the segments alone tell the
// extent.
func TestParseSectionHeaders(t *testing.T) {
	for name, edit := range map[string]func(*elftest.Parts){
		"no offset":  func(p *elftest.Parts) { p.Shoff, p.Shnum, p.Shentsize = 0, 77, 99 },
		"no number":  func(p *elftest.Parts) { p.Shnum, p.Shentsize = 0, 0 },
		"no table":   func(p *elftest.Parts) { p.Shoff, p.Shnum, p.Shentsize = 0, 0, 0 },
		"no content": func(p *elftest.Parts) { p.Shnum = 1 },
	} {
		var segments, table uint64
		b := elftest.New(elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_X86_64).Build(func(p *elftest.Parts) {
			edit(p)
			segments = p.Progs[2].Size
			if p.Shoff != 0 && p.Shnum != 0 {
				table = p.Shoff + uint64(p.Shnum)*uint64(p.Shentsize)
			}
		})
		img, err := Parse(bytes.NewReader(b), int64(len(b)))
		if want := int64(max(segments, table)); err != nil || img.Extent != want {
			t.Errorf("%s: extent %d, %v; want %d", name, img.Extent, err, want)
		}
	}
}

// TestParseReader: a file that can't be read, or that has become shorter, is
// neither broken nor incomplete.
func TestParseReader(t *testing.T) {
	parts := elftest.New(elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_X86_64)
	b := parts.Build(nil)
	cut := int(binary.LittleEndian.Uint64(b[40:])) // shoff
	for _, n := range []int{0, 3, 4, 63, 64, 100, cut, len(b) - 1} {
		if _, err := Parse(bytes.NewReader(b[:n]), int64(len(b))); err != io.ErrUnexpectedEOF {
			t.Errorf("%d bytes left of %d: %v, want %v", n, len(b), err, io.ErrUnexpectedEOF)
		}
	}
	fault := errors.New("I/O error")
	if _, err := Parse(elftest.FailingReader{Err: fault}, int64(len(b))); err != fault {
		t.Errorf("got %v, want what the reader answers", err)
	}
}

// TestParseOfPrograms compares with package debug/elf on programs that are
// there: this one, which Go linked, and some that other linkers made.
func TestParseOfPrograms(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for _, path := range []string{self, "/bin/sh", "/bin/ls", "/bin/cat", "/usr/bin/env", "/usr/bin/gcc", "/sbin/ldconfig"} {
		b, err := os.ReadFile(path)
		if err != nil || !bytes.HasPrefix(b, []byte(magic)) {
			continue
		}
		checked++
		checkAgainstDebugELF(t, path, b)
	}
	if checked == 0 {
		t.Skip("no ELF programs here")
	}
}

func checkAgainstDebugELF(t *testing.T, path string, b []byte) {
	t.Helper()
	f, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	want := Image{Class: byte(f.Class), Data: byte(f.Data), Machine: uint16(f.Machine)}
	for _, p := range f.Progs {
		want.Extent = max(want.Extent, int64(p.Off+p.Filesz))
		if p.Type == elf.PT_INTERP {
			interp, err := io.ReadAll(p.Open())
			if err != nil {
				t.Fatal(err)
			}
			want.Loader = strings.TrimRight(string(interp), "\x00")
		}
	}
	for _, s := range f.Sections {
		if s.Type != elf.SHT_NOBITS {
			want.Extent = max(want.Extent, int64(s.Offset+s.FileSize))
		}
	}
	// debug/elf does not tell where the tables are.
	order := f.ByteOrder
	if f.Class == elf.ELFCLASS64 {
		want.Extent = max(want.Extent, int64(order.Uint64(b[40:]))+64*int64(len(f.Sections)))
	} else {
		want.Extent = max(want.Extent, int64(order.Uint32(b[32:]))+40*int64(len(f.Sections)))
	}
	got, err := Parse(bytes.NewReader(b), int64(len(b)))
	if err != nil || got != want {
		t.Errorf("%s: got %+v, %v; want %+v", path, got, err, want)
		return
	}
	t.Logf("%s: %d of %d bytes are told by the headers", path, got.Extent, len(b))
	step := got.Extent/211 + 1
	for n := got.Extent - 1; n >= 0; n -= step {
		if _, err := Parse(bytes.NewReader(b[:n]), n); !isIncomplete(err) {
			t.Errorf("%s cut to %d of %d bytes: %v", path, n, got.Extent, err)
		}
	}
}

// TestParseOfCrossBuilds has Go build for other machines, which takes long
// when the standard library is not in the build cache for them: set
// AUTORESTART_TEST_CROSS to a list like "386,arm,mips,s390x".
func TestParseOfCrossBuilds(t *testing.T) {
	list := os.Getenv("AUTORESTART_TEST_CROSS")
	if list == "" {
		t.Skip("AUTORESTART_TEST_CROSS is not set")
	}
	dir := t.TempDir()
	source := filepath.Join(dir, "main.go")
	if err := os.WriteFile(source, []byte("package main\n\nfunc main() {}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for arch := range strings.SplitSeq(list, ",") {
		for _, flags := range []string{"", "-s -w"} {
			program := filepath.Join(dir, arch)
			build := exec.Command("go", "build", "-ldflags", flags, "-o", program, source)
			build.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+arch, "CGO_ENABLED=0", "GOFLAGS=")
			if out, err := build.CombinedOutput(); err != nil {
				t.Fatalf("%s: %v\n%s", arch, err, out)
			}
			b, err := os.ReadFile(program)
			if err != nil {
				t.Fatal(err)
			}
			checkAgainstDebugELF(t, arch+" "+strconv.Quote(flags), b)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, parts := range elftest.Samples() {
		b := parts.Build(nil)
		f.Add(b)
		f.Add(b[:len(b)-1])
		f.Add(b[:64])
		f.Add(append(bytes.Clone(b), 0))
		f.Add(parts.Build(func(p *elftest.Parts) { p.Shoff = 0 }))
		f.Add(parts.Build(func(p *elftest.Parts) { p.Phnum = math.MaxUint16 }))
		f.Add(parts.Build(func(p *elftest.Parts) { p.Progs[1].Size = 4096 }))
		f.Add(parts.Build(func(p *elftest.Parts) { p.Progs[2].Off, p.Progs[2].Size = math.MaxUint64, 2 }))
	}
	f.Add([]byte(""))
	f.Add([]byte("#!/bin/sh\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		size := int64(len(data))
		checkBounds(t, &elftest.Meter{Content: data, Size: size})
		checkBounds(t, &elftest.Meter{Content: data, Size: 1 << 40})
		img, err := Parse(bytes.NewReader(data), size)
		if err != nil {
			if _, bad := err.(FormatError); !isIncomplete(err) && err != ErrNotELF && !bad {
				t.Errorf("unexpected error %v", err)
			}
			if err == ErrNotELF && bytes.HasPrefix(data, []byte(magic)) {
				t.Error("it is")
			}
			return
		}
		if img.Extent > size || img.Extent < 52 {
			t.Errorf("extent %d of a file of %d bytes", img.Extent, size)
		}
		if strings.IndexByte(img.Loader, 0) >= 0 {
			t.Errorf("loader path %q", img.Loader)
		}
		// The extent is exact: nothing behind it counts, and all before it does.
		again, err := Parse(bytes.NewReader(data[:img.Extent]), img.Extent)
		if err != nil || again != img {
			t.Errorf("cut to its Extent: %+v, %v; before %+v", again, err, img)
		}
		if _, err := Parse(bytes.NewReader(data[:img.Extent-1]), img.Extent-1); !isIncomplete(err) {
			t.Errorf("without its last byte: %v", err)
		}
	})
}
