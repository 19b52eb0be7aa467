package autorestart

import (
	"debug/elf"
	"errors"
	"io"
	"io/fs"
	"strings"
	"testing"
)

func TestReadKind(t *testing.T) {
	amd64 := newELF(elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_X86_64)
	whole := string(amd64.build(nil))
	object := amd64
	object.typ = elf.ET_REL
	const headerNeeded = "one with its headers and all that they tell of"
	const script = "#!/bin/sh\nexec app\n"
	const macho = "\xcf\xfa\xed\xfe\x07\x00\x00\x01\x03\x00\x00\x00"
	tests := []struct {
		name, file string
		kind       string // what it is, or
		found      string
		expected   string
		notYet     bool
	}{
		{name: "complete", file: whole, kind: "an ELF executable for amd64 (64 bit, little-endian)"},
		{name: "script", file: script, kind: `a file that starts with "#!"`},
		{name: "Mach-O", file: macho, kind: `a file that starts with "\xcf\xfa\xed\xfe\x07\x00\x00\x01"`},
		{name: "Windows", file: "MZ\x90\x00\x03\x00\x00\x00", kind: `a file that starts with "MZ"`},
		{name: "text", file: "hello, world\n", kind: `a file that starts with "he"`},
		{name: "one byte", file: "\n", kind: `a file that starts with "\x0a"`},
		{name: "zeros", file: strings.Repeat("\x00", 100), kind: `a file that starts with "\x00\x00"`},

		{name: "empty", file: "", found: "an empty file", expected: "an executable", notYet: true},
		{name: "first bytes", file: whole[:3], found: "an ELF file that is not complete (3 bytes)", expected: headerNeeded, notYet: true},
		{name: "first headers", file: whole[:64], found: "an ELF file that is not complete (64 bytes)",
			expected: "288 bytes by its headers", notYet: true},
		{name: "cut at the end", file: whole[:len(whole)-1], found: "an ELF file that is not complete (618 bytes)",
			expected: "619 bytes by its headers", notYet: true},
		{name: "object file", file: string(object.build(nil)), found: "an ELF file with type 1, not an executable", expected: "an executable"},
	}
	for _, test := range tests {
		kind, err := readKind(strings.NewReader(test.file), int64(len(test.file)))
		if test.kind != "" {
			if err != nil || kind.String() != test.kind {
				t.Errorf("%s: got %s, %v; want %s", test.name, kind, err, test.kind)
			}
			continue
		}
		unfit, ok := err.(*RejectedError)
		if !ok {
			t.Errorf("%s: got %v", test.name, err)
			continue
		}
		if kind != (imageKind{}) {
			t.Errorf("%s: refused, and taken for %s", test.name, kind)
		}
		if unfit.Found != test.found || unfit.Expected != test.expected || unfit.Retryable != test.notYet {
			t.Errorf("%s: found %q, expected %q, not yet: %t; want %q, %q, %t",
				test.name, unfit.Found, unfit.Expected, unfit.Retryable, test.found, test.expected, test.notYet)
		}
	}

	if _, err := readKind(strings.NewReader("#"), 10); err != io.ErrUnexpectedEOF {
		t.Errorf("shrunk: %v, want %v", err, io.ErrUnexpectedEOF)
	}
	fault := errors.New("I/O error")
	if _, err := readKind(faultyAt{fault}, 10); err != fault {
		t.Errorf("got %v, want what the reader answers", err)
	}
}

func TestMagicOf(t *testing.T) {
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
		{"\x7fELF\x02\x01\x01\x00", "\x7fE"},             // parseELF's
		{"\xfe\xed\xfa\xce\x00\x00\x00\x12more", "\xfe\xed\xfa\xce\x00\x00\x00\x12"},
	} {
		if got := magicOf([]byte(test.head)); got != test.want {
			t.Errorf("%q: got %q, want %q", test.head, got, test.want)
		}
	}
}

func TestCompareKinds(t *testing.T) {
	program := func(class elf.Class, data elf.Data, machine elf.Machine) imageKind {
		return imageKind{elf: &elfImage{class: byte(class), data: byte(data), machine: uint16(machine)}}
	}
	amd64 := program(elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_X86_64)
	x32 := program(elf.ELFCLASS32, elf.ELFDATA2LSB, elf.EM_X86_64)
	arm64 := program(elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_AARCH64)
	ppc64le := program(elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_PPC64)
	ppc64 := program(elf.ELFCLASS64, elf.ELFDATA2MSB, elf.EM_PPC64)
	dynamic := imageKind{elf: &elfImage{class: 2, data: 1, machine: 62, interp: "/lib/ld.so", extent: 1 << 20}}
	script := imageKind{magic: "#!"}
	macAMD64 := imageKind{magic: "\xcf\xfa\xed\xfe\x07\x00\x00\x01"}
	macARM64 := imageKind{magic: "\xcf\xfa\xed\xfe\x0c\x00\x00\x01"}
	windows := imageKind{magic: "MZ"}
	unknown := imageKind{}

	const amd64Text = "an ELF executable for amd64 (64 bit, little-endian)"
	tests := []struct {
		name            string
		found, like     imageKind
		saidFound, said string // "" if it can run
	}{
		{"the same", amd64, amd64, "", ""},
		{"linked differently", dynamic, amd64, "", ""},
		{"linked differently, the other way round", amd64, dynamic, "", ""},
		{"the same Mach-O", macARM64, macARM64, "", ""},
		{"the same Windows", windows, windows, "", ""},
		{"anything where nothing is known", script, unknown, "", ""},
		{"any ELF where nothing is known", arm64, unknown, "", ""},

		{"another machine", arm64, amd64, "an ELF executable for arm64 (64 bit, little-endian)", amd64Text},
		{"another class", x32, amd64, "an ELF executable for amd64 (32 bit, little-endian)", amd64Text},
		{"another byte order", ppc64, ppc64le, "an ELF executable for ppc64 (64 bit, big-endian)",
			"an ELF executable for ppc64 (64 bit, little-endian)"},
		{"a script in the place of a program", script, amd64, `a file that starts with "#!"`, amd64Text},
		{"a program in the place of a script", amd64, script, amd64Text, `a file that starts with "#!"`},
		{"another system's program", macAMD64, amd64, `a file that starts with "\xcf\xfa\xed\xfe\x07\x00\x00\x01"`, amd64Text},
		{"another Mach-O machine", macAMD64, macARM64, `a file that starts with "\xcf\xfa\xed\xfe\x07\x00\x00\x01"`,
			`a file that starts with "\xcf\xfa\xed\xfe\x0c\x00\x00\x01"`},
	}
	for _, test := range tests {
		err := compareKinds(test.found, test.like)
		if test.said == "" {
			if err != nil {
				t.Errorf("%s: %v", test.name, err)
			}
			continue
		}
		unfit, ok := err.(*RejectedError)
		if !ok || unfit.Retryable || unfit.Found != test.saidFound || unfit.Expected != test.said+", as the running image is" {
			t.Errorf("%s: got %#v; want %q, %q", test.name, err, test.saidFound, test.said)
		}
	}
}

func TestELFMachine(t *testing.T) {
	for m, want := range map[elf.Machine]string{
		elf.EM_386: "386", elf.EM_MIPS: "mips", elf.EM_PPC64: "ppc64", elf.EM_S390: "s390x", elf.EM_ARM: "arm",
		elf.EM_SPARCV9: "sparc64", elf.EM_X86_64: "amd64", elf.EM_AARCH64: "arm64", elf.EM_RISCV: "riscv",
		elf.EM_LOONGARCH: "loong64", elf.EM_NONE: "machine 0", elf.EM_68K: "machine 4", 65535: "machine 65535",
	} {
		if got := elfMachine(uint16(m)); got != want {
			t.Errorf("%v: got %s, want %s", m, got, want)
		}
	}
}

func TestUnfitError(t *testing.T) {
	cause := &fs.PathError{Op: "open", Path: "/srv/app", Err: fs.ErrPermission}
	err := error(&RejectedError{Path: "/srv/app", Found: "a script", Expected: "a program", Err: cause})
	if want := "autorestart: /srv/app: found a script, expected a program"; err.Error() != want {
		t.Errorf("got %q, want %q", err, want)
	}
	if !errors.Is(err, fs.ErrPermission) {
		t.Error("the cause is lost")
	}
}

func TestAsUnfit(t *testing.T) {
	if err := asUnfit("/srv/app", nil); err != nil {
		t.Errorf("nil became %v", err)
	}
	if err := asUnfit("/srv/app", (&RejectedError{Found: "a", Expected: "b"})); err.Error() != "autorestart: /srv/app: found a, expected b" || isNotYet(err) {
		t.Errorf("got %v", err)
	}
	fault := &fs.PathError{Op: "read", Path: "/srv/app", Err: errors.New("input/output error")}
	err := asUnfit("/srv/app", fault)
	if want := "autorestart: /srv/app: found input/output error, expected a file that can be read"; err.Error() != want {
		t.Errorf("got %q, want %q", err, want)
	}
	if !isNotYet(err) || !errors.Is(err, fault) {
		t.Errorf("got %#v", err)
	}
}

func TestIsNotYet(t *testing.T) {
	for _, test := range []struct {
		err  error
		want bool
	}{
		{nil, false},
		{errors.New("x"), false},
		{errDone, false},
		{errSameVersion, false},
		{&RejectedError{}, false},
		{&RejectedError{Retryable: true}, true},
		{errors.Join(errors.New("x"), &RejectedError{Retryable: true}), true},
	} {
		if got := isNotYet(test.err); got != test.want {
			t.Errorf("%v: %t", test.err, got)
		}
	}
}

func TestRootCause(t *testing.T) {
	plain := errors.New("plain")
	for _, test := range []struct{ err, want error }{
		{plain, plain},
		{&fs.PathError{Op: "open", Path: "/x", Err: plain}, plain},
	} {
		if got := rootCause(test.err); got != test.want {
			t.Errorf("%v: got %v", test.err, got)
		}
	}
}

// TestRunningKind: what runs would be accepted as its own successor.
func TestRunningKind(t *testing.T) {
	like := runningKind()
	if like == (imageKind{}) {
		t.Fatal("nothing is known of the running image")
	}
	if err := compareKinds(like, like); err != nil {
		t.Error(err)
	}
}
