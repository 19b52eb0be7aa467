// Package elftest builds ELF images for tests, in the words of package debug/elf, so
// that the layout under test is not the one that the images are made with.
package elftest

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
)

// A Range is a program header or a section header, as far as package elfimage reads it.
type Range struct {
	Kind      uint32
	Off, Size uint64
	Flags     uint64 // of a section
}

// Parts describes an ELF image to build.
type Parts struct {
	Class   elf.Class
	Data    elf.Data
	Type    elf.Type
	Machine elf.Machine
	Entry   uint64

	Phoff, Shoff                       uint64
	Phentsize, Phnum, Shentsize, Shnum uint16
	Progs, Sections                    []Range

	GoLike bool   // the section headers lie before the content, as Go's linker puts them
	Loader string // with its NUL; "" for none
}

// New describes a well-formed dynamic executable without content.
func New(class elf.Class, data elf.Data, machine elf.Machine) Parts {
	return Parts{Class: class, Data: data, Type: elf.ET_EXEC, Machine: machine, Entry: 0x1000, Loader: "/lib/ld.so\x00"}
}

// Build lays the image out, lets edit spoil it, and returns its bytes. Their
// number is the extent by headers that are not spoiled.
func (p Parts) Build(edit func(*Parts)) []byte {
	var header, prog, section int
	switch p.Class {
	case elf.ELFCLASS32:
		header, prog, section = binary.Size(elf.Header32{}), binary.Size(elf.Prog32{}), binary.Size(elf.Section32{})
	default:
		header, prog, section = binary.Size(elf.Header64{}), binary.Size(elf.Prog64{}), binary.Size(elf.Section64{})
	}
	const text, names = 40, 24
	p.Phentsize, p.Phnum = uint16(prog), 4
	p.Shentsize, p.Shnum = uint16(section), 4
	at := header
	p.Phoff = uint64(at)
	at += int(p.Phnum) * prog
	if p.GoLike {
		p.Shoff = uint64(at)
		at += int(p.Shnum) * section
	}
	interpAt := at
	at += len(p.Loader)
	textAt := at
	at += text
	namesAt := at
	at += names
	if !p.GoLike {
		p.Shoff = uint64(at)
		at += int(p.Shnum) * section
	}
	p.Progs = []Range{
		{Kind: uint32(elf.PT_PHDR), Off: p.Phoff, Size: uint64(prog) * uint64(p.Phnum)},
		{Kind: uint32(elf.PT_INTERP), Off: uint64(interpAt), Size: uint64(len(p.Loader))},
		{Kind: uint32(elf.PT_LOAD), Off: 0, Size: uint64(textAt + text)},
		{Kind: uint32(elf.PT_GNU_STACK)},
	}
	if p.Loader == "" {
		p.Progs[1].Kind = uint32(elf.PT_NULL)
	}
	p.Sections = []Range{
		{Kind: uint32(elf.SHT_NULL)},
		{Kind: uint32(elf.SHT_PROGBITS), Off: uint64(textAt), Size: text},
		{Kind: uint32(elf.SHT_NOBITS), Off: uint64(namesAt), Size: 1 << 30}, // takes no room in the file
		{Kind: uint32(elf.SHT_STRTAB), Off: uint64(namesAt), Size: names},
	}
	if edit != nil {
		edit(&p)
	}

	var order binary.ByteOrder = binary.LittleEndian
	if p.Data == elf.ELFDATA2MSB {
		order = binary.BigEndian
	}
	var b bytes.Buffer
	put := func(v any) {
		if err := binary.Write(&b, order, v); err != nil {
			panic(err)
		}
	}
	ident := [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(p.Class), byte(p.Data), byte(elf.EV_CURRENT)}
	putSections := func() {
		for _, s := range p.Sections {
			if p.Class == elf.ELFCLASS32 {
				put(elf.Section32{Type: s.Kind, Flags: uint32(s.Flags), Off: uint32(s.Off), Size: uint32(s.Size)})
			} else {
				put(elf.Section64{Type: s.Kind, Flags: s.Flags, Off: s.Off, Size: s.Size})
			}
		}
	}
	if p.Class == elf.ELFCLASS32 {
		put(elf.Header32{
			Ident: ident, Type: uint16(p.Type), Machine: uint16(p.Machine), Version: 1, Entry: uint32(p.Entry),
			Phoff: uint32(p.Phoff), Shoff: uint32(p.Shoff), Ehsize: uint16(header),
			Phentsize: p.Phentsize, Phnum: p.Phnum, Shentsize: p.Shentsize, Shnum: p.Shnum, Shstrndx: 3,
		})
	} else {
		put(elf.Header64{
			Ident: ident, Type: uint16(p.Type), Machine: uint16(p.Machine), Version: 1, Entry: p.Entry,
			Phoff: p.Phoff, Shoff: p.Shoff, Ehsize: uint16(header),
			Phentsize: p.Phentsize, Phnum: p.Phnum, Shentsize: p.Shentsize, Shnum: p.Shnum, Shstrndx: 3,
		})
	}
	for _, s := range p.Progs {
		if p.Class == elf.ELFCLASS32 {
			put(elf.Prog32{Type: s.Kind, Off: uint32(s.Off), Filesz: uint32(s.Size)})
		} else {
			put(elf.Prog64{Type: s.Kind, Off: s.Off, Filesz: s.Size})
		}
	}
	if p.GoLike {
		putSections()
	}
	b.WriteString(p.Loader)
	b.Write(bytes.Repeat([]byte{0xcc}, text))
	b.Write(make([]byte, names))
	if !p.GoLike {
		putSections()
	}
	return b.Bytes()
}

// Samples is one image for each class, byte order and layout.
func Samples() map[string]Parts {
	samples := map[string]Parts{
		"amd64":   New(elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_X86_64),
		"s390x":   New(elf.ELFCLASS64, elf.ELFDATA2MSB, elf.EM_S390),
		"386":     New(elf.ELFCLASS32, elf.ELFDATA2LSB, elf.EM_386),
		"mips":    New(elf.ELFCLASS32, elf.ELFDATA2MSB, elf.EM_MIPS),
		"riscv64": New(elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_RISCV),
	}
	for name, p := range samples {
		p.GoLike = true
		p.Loader = ""
		p.Type = elf.ET_DYN
		samples[name+" as Go links it"] = p
	}
	return samples
}

// Program returns a static executable for amd64. The version makes the difference
// between two of them.
func Program(version byte) []byte {
	p := New(elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_X86_64)
	p.Loader = ""
	return append(p.Build(nil), version)
}

// FailingReader answers every read with Err.
type FailingReader struct{ Err error }

func (r FailingReader) ReadAt([]byte, int64) (int, error) { return 0, r.Err }
