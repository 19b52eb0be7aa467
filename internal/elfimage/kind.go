package elfimage

import (
	"encoding/binary"
	"io"
	"strconv"
	"strings"
)

// A Kind says what kind of program a file is: in which format, for which machine.
// The zero value stands for a kind that is not known.
type Kind struct {
	ELF   *Image // nil for any other format
	Magic string // the first bytes of a file of any other format
}

// ReadKind reads the kind of a file of the given size in bytes, and whether the file
// is complete as far as its format tells. Its errors are those of [Parse] but
// [ErrNotELF].
func ReadKind(r io.ReaderAt, size int64) (Kind, error) {
	f := file{source: source{r: r, size: size}}
	switch err := f.parse(); err {
	case nil:
		return Kind{ELF: &f.Image}, nil
	case ErrNotELF:
		return Kind{Magic: sharedMagic(f.head)}, nil
	default:
		return Kind{}, err
	}
}

// sharedMagic returns the first bytes of a file, as many as every program of its
// format and machine begins with: eight in Mach-O (magic and CPU type), two
// elsewhere.
func sharedMagic(head []byte) string {
	if len(head) >= 8 {
		switch string(head[:4]) {
		case "\xfe\xed\xfa\xce", "\xfe\xed\xfa\xcf", "\xce\xfa\xed\xfe", "\xcf\xfa\xed\xfe":
			return string(head[:8])
		}
	}
	return string(head[:min(2, len(head))])
}

// IsZero reports whether the kind is not known.
func (k Kind) IsZero() bool { return k == Kind{} }

// SameAs reports whether a system that runs programs of one kind runs those of the
// other.
func (k Kind) SameAs(other Kind) bool { return k.String() == other.String() }

// String tells everything by which a kernel decides whether it can run a file.
func (k Kind) String() (found string) {
	if k.Magic == "#!" {
		return "a script (wrappers are not supported)"
	}
	if k.ELF == nil {
		return "a file that starts with " + strconv.Quote(k.Magic)
	}
	bits, order := "32", "little"
	if k.ELF.Class == 2 {
		bits = "64"
	}
	if k.ELF.Data == 2 {
		order = "big"
	}
	return "an ELF executable for " + machineName(k.ELF.Machine) + " (" + bits + " bit, " + order + "-endian)"
}

// machines are the machines that Go runs on, each by the beginning of its GOARCH
// values.
var machines = [...]struct {
	machine uint16
	name    string
}{
	{3, "386"}, {62, "amd64"}, {183, "arm64"}, {40, "arm"}, {243, "riscv"}, {258, "loong64"},
	{8, "mips"}, {21, "ppc64"}, {22, "s390x"}, {43, "sparc64"},
}

func machineName(machine uint16) string {
	for _, m := range machines {
		if m.machine == machine {
			return m.name
		}
	}
	return "machine " + strconv.Itoa(int(machine))
}

// KindOf returns the kind of the ELF files that Go builds for a GOARCH whose
// addresses have the given number of bits and whose byte order is that of this
// program. It is zero for a machine that is not in the table.
func KindOf(goarch string, bits int) Kind {
	img := &Image{Class: 1, Data: 1}
	if bits == 64 {
		img.Class = 2
	}
	if binary.NativeEndian.Uint16([]byte{0, 1}) == 1 {
		img.Data = 2
	}
	for _, m := range machines {
		if strings.HasPrefix(goarch, m.name) {
			img.Machine = m.machine
			return Kind{ELF: img}
		}
	}
	return Kind{}
}
