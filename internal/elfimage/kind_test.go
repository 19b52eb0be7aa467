package elfimage

import (
	"debug/elf"
	"errors"
	"io"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/autorestart-go/autorestart/internal/elfimage/elftest"
)

func TestReadKind(t *testing.T) {
	amd64 := elftest.New(elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_X86_64)
	whole := string(amd64.Build(nil))
	object := amd64
	object.Type = elf.ET_REL
	const script = "#!/bin/sh\nexec app\n"
	const macho = "\xcf\xfa\xed\xfe\x07\x00\x00\x01\x03\x00\x00\x00"
	tests := []struct {
		name, file string
		kind       string // what it is, or
		err        error
	}{
		{name: "complete", file: whole, kind: "an ELF executable for amd64 (64 bit, little-endian)"},
		{name: "script", file: script, kind: "a script (wrappers are not supported)"},
		{name: "Mach-O", file: macho, kind: `a file that starts with "\xcf\xfa\xed\xfe\a\x00\x00\x01"`},
		{name: "Windows", file: "MZ\x90\x00\x03\x00\x00\x00", kind: `a file that starts with "MZ"`},
		{name: "text", file: "hello, world\n", kind: `a file that starts with "he"`},
		{name: "one byte", file: "\n", kind: `a file that starts with "\n"`},
		{name: "zeros", file: strings.Repeat("\x00", 100), kind: `a file that starts with "\x00\x00"`},

		{name: "empty", file: "", err: &IncompleteError{Size: 0}},
		{name: "first bytes", file: whole[:3], err: &IncompleteError{Size: 3}},
		{name: "first headers", file: whole[:64], err: &IncompleteError{Size: 64, Extent: 288}},
		{name: "cut at the end", file: whole[:len(whole)-1], err: &IncompleteError{Size: 618, Extent: 619}},
		{name: "object file", file: string(object.Build(nil)), err: FormatError("type 1, not an executable")},
	}
	for _, test := range tests {
		kind, err := ReadKind(strings.NewReader(test.file), int64(len(test.file)))
		if test.err == nil {
			if err != nil || kind.String() != test.kind {
				t.Errorf("%s: got %s, %v; want %s", test.name, kind, err, test.kind)
			}
			continue
		}
		if !kind.IsZero() {
			t.Errorf("%s: an error, and taken for %s", test.name, kind)
		}
		if want, ok := test.err.(*IncompleteError); ok {
			if got, ok := err.(*IncompleteError); !ok || *got != *want {
				t.Errorf("%s: got %#v, want %#v", test.name, err, want)
			}
		} else if err != test.err {
			t.Errorf("%s: got %v, want %v", test.name, err, test.err)
		}
	}

	if _, err := ReadKind(strings.NewReader("#"), 10); err != io.ErrUnexpectedEOF {
		t.Errorf("shrunk: %v, want %v", err, io.ErrUnexpectedEOF)
	}
	fault := errors.New("I/O error")
	if _, err := ReadKind(elftest.FailingReader{Err: fault}, 10); err != fault {
		t.Errorf("got %v, want the error of the reader", err)
	}
}

func TestSharedMagic(t *testing.T) {
	for _, test := range []struct{ head, want string }{
		{"", ""},
		{"#", "#"},
		{"#!", "#!"},
		{"#!/bin/s", "#!"},
		{"MZ\x90\x00\x03\x00\x00\x00", "MZ"},
		{"\xcf\xfa\xed\xfe\x07\x00\x00\x01", "\xcf\xfa\xed\xfe\x07\x00\x00\x01"}, // 64 bit, amd64
		{"\xcf\xfa\xed\xfe\x0c\x00\x00\x01", "\xcf\xfa\xed\xfe\x0c\x00\x00\x01"}, // 64 bit, arm64
		{"\xce\xfa\xed\xfe\x07\x00\x00\x00", "\xce\xfa\xed\xfe\x07\x00\x00\x00"}, // 32 bit
		{"\xfe\xed\xfa\xcf\x01\x00\x00\x12", "\xfe\xed\xfa\xcf\x01\x00\x00\x12"}, // big-endian
		{"\xfe\xed\xfa\xce\x00\x00\x00\x12", "\xfe\xed\xfa\xce\x00\x00\x00\x12"},
		{"\xcf\xfa\xed\xfe\x07\x00\x00", "\xcf\xfa"},     // cut
		{"\xca\xfe\xba\xbe\x00\x00\x00\x02", "\xca\xfe"}, // several machines in one
		{"\xcf\xfa\xed\xff\x07\x00\x00\x01", "\xcf\xfa"}, // no Mach-O
		{"\x00\x00\x00\x00\x00\x00\x00\x00", "\x00\x00"}, // nothing
		{"\x7fELF\x02\x01\x01\x00", "\x7fE"},             // Parse reads it
		{"\xfe\xed\xfa\xce\x00\x00\x00\x12more", "\xfe\xed\xfa\xce\x00\x00\x00\x12"},
	} {
		if got := sharedMagic([]byte(test.head)); got != test.want {
			t.Errorf("%q: got %q, want %q", test.head, got, test.want)
		}
	}
}

func TestMachineName(t *testing.T) {
	for m, want := range map[elf.Machine]string{
		elf.EM_386: "386", elf.EM_MIPS: "mips", elf.EM_PPC64: "ppc64", elf.EM_S390: "s390x", elf.EM_ARM: "arm",
		elf.EM_SPARCV9: "sparc64", elf.EM_X86_64: "amd64", elf.EM_AARCH64: "arm64", elf.EM_RISCV: "riscv",
		elf.EM_LOONGARCH: "loong64", elf.EM_NONE: "machine 0", elf.EM_68K: "machine 4", 65535: "machine 65535",
	} {
		if got := machineName(uint16(m)); got != want {
			t.Errorf("%v: got %s, want %s", m, got, want)
		}
	}
}

// TestKindOf: the kind of this program by its GOARCH is the one by its file.
func TestKindOf(t *testing.T) {
	if got := KindOf("unknown", 64); !got.IsZero() {
		t.Errorf("unknown GOARCH: %s", got)
	}
	if runtime.GOOS != "linux" {
		t.Skip("programs have another format here")
	}
	f := openSelf(t)
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	file, err := ReadKind(f, info.Size())
	if got := KindOf(runtime.GOARCH, strconv.IntSize); err != nil || !got.SameAs(file) {
		t.Errorf("got %s, the file is %s, %v", got, file, err)
	}
}
