package autorestart

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
	"testing/iotest"
)

// elfRange is a program header or a section header, as far as elfFile reads it.
type elfRange struct {
	kind      uint32
	off, size uint64
}

// elfParts is an ELF image to build, in the words of package debug/elf, so that
// the layout under test is not the one that the images are made with.
type elfParts struct {
	class   elf.Class
	data    elf.Data
	typ     elf.Type
	machine elf.Machine
	entry   uint64

	phoff, shoff                       uint64
	phentsize, phnum, shentsize, shnum uint16
	progs, sections                    []elfRange

	goLike bool // the section headers lie before the content, as Go's linker puts them
	interp string
}

// newELF is a well-formed dynamic executable without content.
func newELF(class elf.Class, data elf.Data, machine elf.Machine) elfParts {
	return elfParts{class: class, data: data, typ: elf.ET_EXEC, machine: machine, entry: 0x1000, interp: "/lib/ld.so\x00"}
}

// build lays the image out, has edit spoil it, and returns its bytes. Their
// number is the extent that unspoiled headers tell.
func (p elfParts) build(edit func(*elfParts)) []byte {
	var header, prog, section int
	switch p.class {
	case elf.ELFCLASS32:
		header, prog, section = binary.Size(elf.Header32{}), binary.Size(elf.Prog32{}), binary.Size(elf.Section32{})
	default:
		header, prog, section = binary.Size(elf.Header64{}), binary.Size(elf.Prog64{}), binary.Size(elf.Section64{})
	}
	const text, names = 40, 24
	p.phentsize, p.phnum = uint16(prog), 4
	p.shentsize, p.shnum = uint16(section), 4
	at := header
	p.phoff = uint64(at)
	at += int(p.phnum) * prog
	if p.goLike {
		p.shoff = uint64(at)
		at += int(p.shnum) * section
	}
	interpAt := at
	at += len(p.interp)
	textAt := at
	at += text
	namesAt := at
	at += names
	if !p.goLike {
		p.shoff = uint64(at)
		at += int(p.shnum) * section
	}
	p.progs = []elfRange{
		{uint32(elf.PT_PHDR), p.phoff, uint64(prog) * uint64(p.phnum)},
		{uint32(elf.PT_INTERP), uint64(interpAt), uint64(len(p.interp))},
		{uint32(elf.PT_LOAD), 0, uint64(textAt + text)},
		{uint32(elf.PT_GNU_STACK), 0, 0},
	}
	if p.interp == "" {
		p.progs[1].kind = uint32(elf.PT_NULL)
	}
	p.sections = []elfRange{
		{uint32(elf.SHT_NULL), 0, 0},
		{uint32(elf.SHT_PROGBITS), uint64(textAt), text},
		{uint32(elf.SHT_NOBITS), uint64(namesAt), 1 << 30}, // takes no room in the file
		{uint32(elf.SHT_STRTAB), uint64(namesAt), names},
	}
	if edit != nil {
		edit(&p)
	}

	var order binary.ByteOrder = binary.LittleEndian
	if p.data == elf.ELFDATA2MSB {
		order = binary.BigEndian
	}
	var b bytes.Buffer
	put := func(v any) {
		if err := binary.Write(&b, order, v); err != nil {
			panic(err)
		}
	}
	ident := [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(p.class), byte(p.data), byte(elf.EV_CURRENT)}
	putSections := func() {
		for _, s := range p.sections {
			if p.class == elf.ELFCLASS32 {
				put(elf.Section32{Type: s.kind, Off: uint32(s.off), Size: uint32(s.size)})
			} else {
				put(elf.Section64{Type: s.kind, Off: s.off, Size: s.size})
			}
		}
	}
	if p.class == elf.ELFCLASS32 {
		put(elf.Header32{
			Ident: ident, Type: uint16(p.typ), Machine: uint16(p.machine), Version: 1, Entry: uint32(p.entry),
			Phoff: uint32(p.phoff), Shoff: uint32(p.shoff), Ehsize: uint16(header),
			Phentsize: p.phentsize, Phnum: p.phnum, Shentsize: p.shentsize, Shnum: p.shnum, Shstrndx: 3,
		})
	} else {
		put(elf.Header64{
			Ident: ident, Type: uint16(p.typ), Machine: uint16(p.machine), Version: 1, Entry: p.entry,
			Phoff: p.phoff, Shoff: p.shoff, Ehsize: uint16(header),
			Phentsize: p.phentsize, Phnum: p.phnum, Shentsize: p.shentsize, Shnum: p.shnum, Shstrndx: 3,
		})
	}
	for _, s := range p.progs {
		if p.class == elf.ELFCLASS32 {
			put(elf.Prog32{Type: s.kind, Off: uint32(s.off), Filesz: uint32(s.size)})
		} else {
			put(elf.Prog64{Type: s.kind, Off: s.off, Filesz: s.size})
		}
	}
	if p.goLike {
		putSections()
	}
	b.WriteString(p.interp)
	b.Write(bytes.Repeat([]byte{0xcc}, text))
	b.Write(make([]byte, names))
	if !p.goLike {
		putSections()
	}
	return b.Bytes()
}

func parseELF(r io.ReaderAt, size int64) (elfImage, error) {
	f := elfFile{r: r, size: size}
	err := f.parse()
	return f.elfImage, err
}

// sampleELFs is one image for each class, byte order and layout.
func sampleELFs() map[string]elfParts {
	samples := map[string]elfParts{
		"amd64":   newELF(elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_X86_64),
		"s390x":   newELF(elf.ELFCLASS64, elf.ELFDATA2MSB, elf.EM_S390),
		"386":     newELF(elf.ELFCLASS32, elf.ELFDATA2LSB, elf.EM_386),
		"mips":    newELF(elf.ELFCLASS32, elf.ELFDATA2MSB, elf.EM_MIPS),
		"riscv64": newELF(elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_RISCV),
	}
	for name, p := range samples {
		p.goLike = true
		p.interp = ""
		p.typ = elf.ET_DYN
		samples[name+" as Go links it"] = p
	}
	return samples
}

func TestParseELF(t *testing.T) {
	for name, parts := range sampleELFs() {
		t.Run(name, func(t *testing.T) {
			b := parts.build(nil)
			want := elfImage{
				class: byte(parts.class), data: byte(parts.data), machine: uint16(parts.machine),
				interp: strings.TrimRight(parts.interp, "\x00"), extent: int64(len(b)),
			}
			if got, err := parseELF(bytes.NewReader(b), int64(len(b))); err != nil || got != want {
				t.Errorf("got %+v, %v; want %+v", got, err, want)
			}
			// What is appended to an executable is nobody's business here.
			longer := append(bytes.Clone(b), "payload"...)
			if got, err := parseELF(bytes.NewReader(longer), int64(len(longer))); err != nil || got != want {
				t.Errorf("with a payload: got %+v, %v; want %+v", got, err, want)
			}
			for n := range b {
				if _, err := parseELF(bytes.NewReader(b[:n]), int64(n)); err != errELFShort {
					t.Errorf("cut to %d of %d bytes: %v, want %v", n, len(b), err, errELFShort)
				}
			}
		})
	}
}

func TestParseELFSpoiled(t *testing.T) {
	const beyond = "an ELF file with headers that point beyond any file"
	const unknownTable = "an ELF file with header tables of an unknown form"
	tests := []struct {
		name   string
		edit   func(*elfParts)
		want32 string // "" is no error
		want64 string
	}{
		{"encoding 0", func(p *elfParts) { p.data = 0 }, "an ELF file with data encoding 0", "an ELF file with data encoding 0"},
		{"encoding 255", func(p *elfParts) { p.data = 255 }, "an ELF file with data encoding 255", "an ELF file with data encoding 255"},
		{"object file", func(p *elfParts) { p.typ = elf.ET_REL },
			"an ELF file with type 1, not an executable", "an ELF file with type 1, not an executable"},
		{"core dump", func(p *elfParts) { p.typ = elf.ET_CORE },
			"an ELF file with type 4, not an executable", "an ELF file with type 4, not an executable"},
		{"library", func(p *elfParts) { p.typ, p.entry = elf.ET_DYN, 0 },
			"an ELF file with no entry point, not an executable", "an ELF file with no entry point, not an executable"},
		{"no program headers", func(p *elfParts) { p.phnum = 0 },
			"an ELF file with nothing to load", "an ELF file with nothing to load"},
		{"no segment to load", func(p *elfParts) { p.progs[2].kind = uint32(elf.PT_NOTE) },
			"an ELF file with nothing to load", "an ELF file with nothing to load"},

		{"phentsize 0", func(p *elfParts) { p.phentsize = 0 }, unknownTable, unknownTable},
		{"phentsize of the other class", func(p *elfParts) { p.phentsize ^= 32 ^ 56 }, unknownTable, unknownTable},
		{"shentsize 65535", func(p *elfParts) { p.shentsize = math.MaxUint16 }, unknownTable, unknownTable},
		{"phnum 65535", func(p *elfParts) { p.phnum = math.MaxUint16 }, errELFShort.Error(), errELFShort.Error()},
		{"shnum 65535", func(p *elfParts) { p.shnum = math.MaxUint16 }, errELFShort.Error(), errELFShort.Error()},

		{"phoff beyond the file", func(p *elfParts) { p.phoff = 1 << 20 }, errELFShort.Error(), errELFShort.Error()},
		{"phoff at the limit", func(p *elfParts) { p.phoff = math.MaxUint32 }, errELFShort.Error(), errELFShort.Error()},
		{"phoff absurd", func(p *elfParts) { p.phoff = math.MaxUint64 }, errELFShort.Error(), beyond},
		{"phoff negative", func(p *elfParts) { p.phoff = 1<<63 | 64 }, "an ELF file with nothing to load", beyond},
		{"shoff beyond the file", func(p *elfParts) { p.shoff = 1 << 20 }, errELFShort.Error(), errELFShort.Error()},
		{"shoff absurd", func(p *elfParts) { p.shoff = math.MaxUint64 }, errELFShort.Error(), beyond},

		{"segment offset absurd", func(p *elfParts) { p.progs[2].off = math.MaxUint64 }, errELFShort.Error(), beyond},
		{"segment size absurd", func(p *elfParts) { p.progs[2].size = math.MaxUint64 }, errELFShort.Error(), beyond},
		{"segment that wraps around", func(p *elfParts) { p.progs[2].off, p.progs[2].size = math.MaxUint64, 2 },
			errELFShort.Error(), beyond},
		{"segment at the limit", func(p *elfParts) { p.progs[2].off, p.progs[2].size = elfMaxExtent, elfMaxExtent },
			"", errELFShort.Error()}, // 0 and 0 in 32 bits
		{"section one byte too long", func(p *elfParts) { p.sections[1].off, p.sections[1].size = p.shoff, 4*uint64(p.shentsize)+1 },
			errELFShort.Error(), errELFShort.Error()},
		{"section of one byte behind the end", func(p *elfParts) { p.sections[1].off, p.sections[1].size = p.shoff+4*uint64(p.shentsize), 1 },
			errELFShort.Error(), errELFShort.Error()},
		{"section offset absurd", func(p *elfParts) { p.sections[1].off = math.MaxUint64 }, errELFShort.Error(), beyond},
		{"sections that end elsewhere, without content", func(p *elfParts) { p.sections[1].off, p.sections[1].size = 1<<20, 0 }, "", ""},

		{"loader path of 0 bytes", func(p *elfParts) { p.progs[1].size = 0 },
			"an ELF file with a loader path of 0 bytes", "an ELF file with a loader path of 0 bytes"},
		{"loader path of 1 byte", func(p *elfParts) { p.progs[1].size = 1 },
			"an ELF file with a loader path of 1 bytes", "an ELF file with a loader path of 1 bytes"},
		{"loader path longer than a path can be", func(p *elfParts) { p.progs[1].size = 4097 },
			"an ELF file with a loader path of 4097 bytes", "an ELF file with a loader path of 4097 bytes"},
		{"loader path beyond the file", func(p *elfParts) { p.progs[1].size = 4096 }, errELFShort.Error(), errELFShort.Error()},
		{"loader path without NUL", func(p *elfParts) { p.progs[1].size-- },
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
				b := newELF(class, data, elf.EM_NONE).build(test.edit)
				var got string
				img, err := parseELF(bytes.NewReader(b), int64(len(b)))
				if unfit, ok := err.(*RejectedError); ok {
					got = unfit.Found
				} else if err != nil {
					got = err.Error()
				}
				if got != want {
					t.Errorf("%s: got %q, want %q", name, got, want)
				}
				if err == errELFShort && img.extent <= int64(len(b)) {
					t.Errorf("%s: said to be short with %d bytes of %d", name, len(b), img.extent)
				}
			}
		}
	}
}

func TestParseELFHead(t *testing.T) {
	b := newELF(elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_X86_64).build(nil)
	for _, test := range []struct {
		at   int
		to   byte
		want error
	}{
		{0, 0, errNotELF},
		{1, 'e', errNotELF},
		{3, 'G', errNotELF},
		{elf.EI_CLASS, 0, badELF("class 0")},
		{elf.EI_CLASS, 3, badELF("class 3")},
		{elf.EI_CLASS, 255, badELF("class 255")},
		{elf.EI_VERSION, 9, nil}, // the kernel doesn't look
		{elf.EI_OSABI, 9, nil},   // FreeBSD's; Linux doesn't look
	} {
		head := bytes.Clone(b)
		head[test.at] = test.to
		if _, err := parseELF(bytes.NewReader(head), int64(len(head))); !reflect.DeepEqual(err, test.want) {
			t.Errorf("byte %d = %d: %v, want %v", test.at, test.to, err, test.want)
		}
	}
	for _, test := range []struct {
		file string
		want error
	}{
		{"", errELFShort},
		{"\x7f", errELFShort},
		{"\x7fEL", errELFShort},
		{"\x7fELF", errELFShort},
		{"\x7fELF\x02\x01\x01", errELFShort},
		{"\x7fELG", errNotELF},
		{"\x7fX", errNotELF},
		{"#", errNotELF},
		{"#!/bin/sh\n", errNotELF},
		{"\x00", errNotELF},
	} {
		if _, err := parseELF(strings.NewReader(test.file), int64(len(test.file))); err != test.want {
			t.Errorf("%q: %v, want %v", test.file, err, test.want)
		}
	}
}

func TestParseELFInterp(t *testing.T) {
	for _, test := range []struct{ stored, want string }{
		{"/\x00", "/"},
		{"/lib64/ld-linux-x86-64.so.2\x00", "/lib64/ld-linux-x86-64.so.2"},
		{"/lib/ld.so\x00\x00\x00\x00", "/lib/ld.so"}, // made shorter in place; the kernel reads up to the first NUL
		{"\x00\x00", ""},
		{strings.Repeat("x", 4095) + "\x00", strings.Repeat("x", 4095)},
	} {
		parts := newELF(elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_X86_64)
		parts.interp = test.stored
		b := parts.build(nil)
		img, err := parseELF(bytes.NewReader(b), int64(len(b)))
		if err != nil || img.interp != test.want {
			t.Errorf("%q: got %q, %v; want %q", test.stored, img.interp, err, test.want)
		}
	}
}

// TestParseELFSectionHeaders: where there are none, the segments alone tell the
// extent.
func TestParseELFSectionHeaders(t *testing.T) {
	for name, edit := range map[string]func(*elfParts){
		"no offset":  func(p *elfParts) { p.shoff, p.shnum, p.shentsize = 0, 77, 99 },
		"no number":  func(p *elfParts) { p.shnum, p.shentsize = 0, 0 },
		"no table":   func(p *elfParts) { p.shoff, p.shnum, p.shentsize = 0, 0, 0 },
		"no content": func(p *elfParts) { p.shnum = 1 },
	} {
		var segments, table uint64
		b := newELF(elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_X86_64).build(func(p *elfParts) {
			edit(p)
			segments = p.progs[2].size
			if p.shoff != 0 && p.shnum != 0 {
				table = p.shoff + uint64(p.shnum)*uint64(p.shentsize)
			}
		})
		img, err := parseELF(bytes.NewReader(b), int64(len(b)))
		if want := int64(max(segments, table)); err != nil || img.extent != want {
			t.Errorf("%s: extent %d, %v; want %d", name, img.extent, err, want)
		}
	}
}

// TestParseELFReader: a file that can't be read, or that has become shorter, is
// neither broken nor incomplete.
func TestParseELFReader(t *testing.T) {
	parts := newELF(elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_X86_64)
	b := parts.build(nil)
	cut := int(binary.LittleEndian.Uint64(b[40:])) // shoff
	for _, n := range []int{0, 3, 4, 63, 64, 100, cut, len(b) - 1} {
		if _, err := parseELF(bytes.NewReader(b[:n]), int64(len(b))); err != io.ErrUnexpectedEOF {
			t.Errorf("%d bytes left of %d: %v, want %v", n, len(b), err, io.ErrUnexpectedEOF)
		}
	}
	fault := errors.New("I/O error")
	if _, err := parseELF(faultyAt{fault}, int64(len(b))); err != fault {
		t.Errorf("got %v, want what the reader answers", err)
	}
}

// faultyAt can't be read.
type faultyAt struct{ err error }

func (f faultyAt) ReadAt(b []byte, off int64) (int, error) {
	return iotest.ErrReader(f.err).Read(b)
}

// TestParseELFOfPrograms compares with package debug/elf on programs that are
// there: this one, which Go linked, and some that other linkers made.
func TestParseELFOfPrograms(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for _, path := range []string{self, "/bin/sh", "/bin/ls", "/bin/cat", "/usr/bin/env", "/usr/bin/gcc", "/sbin/ldconfig"} {
		b, err := os.ReadFile(path)
		if err != nil || !bytes.HasPrefix(b, []byte(elfMagic)) {
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
	want := elfImage{class: byte(f.Class), data: byte(f.Data), machine: uint16(f.Machine)}
	for _, p := range f.Progs {
		want.extent = max(want.extent, int64(p.Off+p.Filesz))
		if p.Type == elf.PT_INTERP {
			interp, err := io.ReadAll(p.Open())
			if err != nil {
				t.Fatal(err)
			}
			want.interp = strings.TrimRight(string(interp), "\x00")
		}
	}
	for _, s := range f.Sections {
		if s.Type != elf.SHT_NOBITS {
			want.extent = max(want.extent, int64(s.Offset+s.FileSize))
		}
	}
	// debug/elf does not tell where the tables are.
	order := f.ByteOrder
	if f.Class == elf.ELFCLASS64 {
		want.extent = max(want.extent, int64(order.Uint64(b[40:]))+64*int64(len(f.Sections)))
	} else {
		want.extent = max(want.extent, int64(order.Uint32(b[32:]))+40*int64(len(f.Sections)))
	}
	got, err := parseELF(bytes.NewReader(b), int64(len(b)))
	if err != nil || got != want {
		t.Errorf("%s: got %+v, %v; want %+v", path, got, err, want)
		return
	}
	t.Logf("%s: %d of %d bytes are told by the headers", path, got.extent, len(b))
	step := got.extent/211 + 1
	for n := got.extent - 1; n >= 0; n -= step {
		if _, err := parseELF(bytes.NewReader(b[:n]), n); err != errELFShort {
			t.Errorf("%s cut to %d of %d bytes: %v, want %v", path, n, got.extent, err, errELFShort)
		}
	}
}

// TestParseELFOfCrossBuilds has Go build for other machines, which takes long
// when the standard library is not in the build cache for them: set
// AUTORESTART_TEST_CROSS to a list like "386,arm,mips,s390x".
func TestParseELFOfCrossBuilds(t *testing.T) {
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

// meteredAt notes how much is asked for.
type meteredAt struct {
	r       io.ReaderAt
	largest int // bytes in one call
	total   int64
}

func (m *meteredAt) ReadAt(b []byte, off int64) (int, error) {
	m.largest = max(m.largest, len(b))
	m.total += int64(len(b))
	return m.r.ReadAt(b, off)
}

func FuzzParseELF(f *testing.F) {
	for _, parts := range sampleELFs() {
		b := parts.build(nil)
		f.Add(b)
		f.Add(b[:len(b)-1])
		f.Add(b[:64])
		f.Add(append(bytes.Clone(b), 0))
		f.Add(parts.build(func(p *elfParts) { p.shoff = 0 }))
		f.Add(parts.build(func(p *elfParts) { p.phnum = math.MaxUint16 }))
		f.Add(parts.build(func(p *elfParts) { p.progs[1].size = 4096 }))
		f.Add(parts.build(func(p *elfParts) { p.progs[2].off, p.progs[2].size = math.MaxUint64, 2 }))
	}
	f.Add([]byte(""))
	f.Add([]byte("#!/bin/sh\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		size := int64(len(data))
		m := &meteredAt{r: bytes.NewReader(data)}
		img, err := parseELF(m, size)
		// Everything that is read is read into memory of its own.
		if m.largest > len(data) {
			t.Errorf("%d bytes asked for at once, of a file of %d", m.largest, size)
		}
		if most := 70000 * (size + 4096); m.total > most {
			t.Errorf("%d bytes read of a file of %d", m.total, size)
		}
		if err != nil {
			if _, bad := err.(*RejectedError); err != errELFShort && err != errNotELF && !bad {
				t.Errorf("unexpected error %v", err)
			}
			if err == errNotELF && bytes.HasPrefix(data, []byte(elfMagic)) {
				t.Error("it is")
			}
			return
		}
		if img.extent > size || img.extent < 52 {
			t.Errorf("extent %d of a file of %d bytes", img.extent, size)
		}
		if strings.IndexByte(img.interp, 0) >= 0 {
			t.Errorf("loader path %q", img.interp)
		}
		// The extent is exact: nothing behind it counts, and all before it does.
		again, err := parseELF(bytes.NewReader(data[:img.extent]), img.extent)
		if err != nil || again != img {
			t.Errorf("cut to its extent: %+v, %v; before %+v", again, err, img)
		}
		if _, err := parseELF(bytes.NewReader(data[:img.extent-1]), img.extent-1); err != errELFShort {
			t.Errorf("without its last byte: %v", err)
		}
	})
}
