package elfimage

import (
	"bytes"
	"debug/elf"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/autorestart-go/autorestart/internal/elfimage/elftest"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// What a parser may do for a file, whatever its headers say.
const (
	mostBytes     = 8 << 20
	mostCalls     = 128
	mostAllocated = mostBytes + 1<<20
)

// parsers are those of files that others write.
var parsers = map[string]func(*elftest.Meter){
	"Parse":     func(m *elftest.Meter) { Parse(m, m.Size) },
	"ReadKind":  func(m *elftest.Meter) { ReadKind(m, m.Size) },
	"ReadBuild": func(m *elftest.Meter) { ReadBuild(m, m.Size) },
}

// checkBounds reports parsers that do too much for the file.
func checkBounds(t *testing.T, m *elftest.Meter) {
	t.Helper()
	for parser, parse := range parsers {
		returned := false
		allocated := testprocess.Allocated(func() { returned = m.Run(func() { parse(m) }) })
		if !returned || m.Bytes > mostBytes || m.Calls > mostCalls || allocated > mostAllocated {
			t.Errorf("%s: returned %t, after %d calls for %d bytes and %d bytes allocated; the limits are %d, %d and %d",
				parser, returned, m.Calls, m.Bytes, allocated, mostCalls, mostBytes, mostAllocated)
		}
	}
}

// writable is the flag of a section with data.
const writable = uint64(elf.SHF_WRITE)

// crafted are files whose headers lead a parser to more than the file has, or to the same
// again and again.
var crafted = sync.OnceValue(func() map[string]*elftest.Meter {
	const large = 1 << 20
	const tail = 1 << 30 // zeros begin before
	files := map[string]*elftest.Meter{}
	add := func(name string, edit func(*elftest.Parts)) {
		for _, class := range []elf.Class{elf.ELFCLASS32, elf.ELFCLASS64} {
			content := elftest.New(class, elf.ELFDATA2LSB, elf.EM_X86_64).Build(edit)
			files[class.String()+" "+name] = &elftest.Meter{Content: content, Size: 1 << 40}
		}
	}
	sections := func(n int, rows ...elftest.Range) func(*elftest.Parts) {
		return func(p *elftest.Parts) {
			p.Sections = slices.Repeat(rows, n/len(rows))
			p.Shnum = uint16(len(p.Sections))
		}
	}
	segments := func(n int, row elftest.Range) func(*elftest.Parts) {
		return func(p *elftest.Parts) {
			p.Progs = append(p.Progs[2:3], slices.Repeat([]elftest.Range{row}, n-1)...)
			p.Phnum = uint16(n)
			p.Shoff = 0
		}
	}
	const all = math.MaxUint16
	const progbits, note = uint32(elf.SHT_PROGBITS), uint32(elf.SHT_NOTE)

	add("nothing wrong", nil)
	add("the same large note", sections(all, elftest.Range{Kind: note, Off: 1, Size: large}))
	add("the same small note", sections(all, elftest.Range{Kind: note, Off: 1, Size: buildInfoSize}))
	add("the same large data", sections(all, elftest.Range{Kind: progbits, Off: 1, Size: large, Flags: writable}))
	add("the same small data", sections(all, elftest.Range{Kind: progbits, Off: 1, Size: buildInfoSize, Flags: writable}))
	add("notes and data", sections(all, elftest.Range{Kind: note, Off: tail, Size: large},
		elftest.Range{Kind: progbits, Off: tail, Size: large, Flags: writable}))
	add("empty sections", sections(all, elftest.Range{}))
	add("large section", sections(1, elftest.Range{Kind: progbits, Off: 0, Size: 1 << 40, Flags: writable}))
	add("the same long loader path", segments(all, elftest.Range{Kind: uint32(elf.PT_INTERP), Off: tail, Size: maxLoaderPath}))
	add("the same short loader path", segments(all, elftest.Range{Kind: uint32(elf.PT_INTERP), Off: tail, Size: 2}))
	add("as many loader paths as Linux takes", segments(1170, elftest.Range{Kind: uint32(elf.PT_INTERP), Off: tail, Size: maxLoaderPath}))
	add("the same segment", segments(all, elftest.Range{Kind: uint32(elf.PT_LOAD), Off: 0, Size: 1 << 40}))
	add("tables in zeros", func(p *elftest.Parts) {
		p.Phoff, p.Shoff, p.Phnum, p.Shnum = tail, tail, all, all
	})
	add("tables on top of each other", func(p *elftest.Parts) {
		p.Phoff, p.Shoff, p.Phnum, p.Shnum = 1, 1, all, all
	})
	files["nothing"] = &elftest.Meter{Size: 1 << 40}
	files["magic number"] = &elftest.Meter{Content: []byte(magic), Size: 1 << 40}

	// The longest build info that is read.
	for name, modules := range map[string]string{
		"lines":     strings.Repeat("\n", maxBuildSection),
		"tabs":      strings.Repeat("\t", maxBuildSection),
		"module":    "mod\t" + strings.Repeat("x", maxBuildSection),
		"libraries": strings.Repeat("dep\t"+Library+"\tv1\n=>\tx\tv2\n", maxBuildSection/20),
	} {
		info := infoSection(modules[:maxBuildSection-200])
		content := elftest.New(elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_X86_64).Build(func(p *elftest.Parts) {
			p.Sections = slices.Repeat([]elftest.Range{{
				Kind: progbits, Off: p.Shoff + 3*uint64(p.Shentsize), Size: uint64(len(info)), Flags: writable,
			}}, 3)
			p.Shnum = 3
		})
		files["build info of "+name] = &elftest.Meter{Content: append(content, info...), Size: 1 << 40}
	}
	return files
})

// TestCraftedFiles: whatever the headers say, a parser does no more than a constant allows.
func TestCraftedFiles(t *testing.T) {
	for name, m := range crafted() {
		t.Run(name, func(t *testing.T) { checkBounds(t, m) })
	}
}

// TestFirstLoaderCounts: Linux opens the loader of the first PT_INTERP, and looks at no
// other. See load_elf_binary in fs/binfmt_elf.c.
func TestFirstLoaderCounts(t *testing.T) {
	for name, second := range map[string]elftest.Range{
		"another":     {Off: 4, Size: 8},
		"without end": {Off: 0, Size: 4},
		"empty":       {},
		"too long":    {Size: 1 << 20},
	} {
		parts := elftest.New(elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_X86_64)
		b := parts.Build(func(p *elftest.Parts) {
			second.Kind = uint32(elf.PT_INTERP)
			p.Progs[3] = second
		})
		b = append(b, make([]byte, 1<<20)...)
		img, err := Parse(bytes.NewReader(b), int64(len(b)))
		if want := strings.TrimRight(parts.Loader, "\x00"); err != nil || img.Loader != want {
			t.Errorf("%s: got %q, %v; want %q", name, img.Loader, err, want)
		}
	}
}

// TestTooManySegments: Linux takes program headers of 64 KiB. See load_elf_phdrs in
// fs/binfmt_elf.c.
func TestTooManySegments(t *testing.T) {
	for class, most := range map[elf.Class]int{elf.ELFCLASS32: 65536 / 32, elf.ELFCLASS64: 65536 / 56} {
		for _, n := range []int{most, most + 1, math.MaxUint16} {
			content := elftest.New(class, elf.ELFDATA2LSB, elf.EM_X86_64).Build(func(p *elftest.Parts) {
				p.Progs = append(p.Progs[2:3], make([]elftest.Range, n-1)...)
				p.Phnum, p.Shoff = uint16(n), 0
			})
			_, err := Parse(bytes.NewReader(content), int64(len(content)))
			if _, refused := err.(FormatError); refused != (n > most) || !refused && err != nil {
				t.Errorf("%v, %d program headers: %v", class, n, err)
			}
		}
	}
}
