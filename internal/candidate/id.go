package candidate

import (
	"strconv"
	"strings"
)

// An ID tells one state of one file from every other: a file that has been
// replaced, written, touched or chmod-ed has another one.
type ID struct {
	Dev, Ino     uint64
	Size         int64 // bytes
	Mtime, Ctime int64 // nanoseconds since 1970
	UID, GID     uint32
	Perm         uint32 // the lower twelve bits of the mode
	Regular      bool
}

// Mark formats the part of the ID that changes when the file is written, replaced or
// touched, and not when its mode or owner is set.
func (id ID) Mark() string {
	return hexFields(id.Dev, id.Ino, uint64(id.Size), uint64(id.Mtime))
}

// MarkIn returns the Mark at the beginning of a text, such as a Format; "" if there is none.
func MarkIn(text string) string {
	end := 0
	for range 4 {
		n := strings.IndexByte(text[end:], '/')
		if n < 0 {
			return ""
		}
		end += n + 1
	}
	return text[:end]
}

// SameMark reports whether the Marks of two files are the same.
func (id *ID) SameMark(other *ID) bool {
	return id.Dev == other.Dev && id.Ino == other.Ino && id.Size == other.Size && id.Mtime == other.Mtime
}

// Format formats what [ParseID] parses. It begins with the Mark.
func (id ID) Format() string {
	return id.Mark() + hexFields(uint64(id.Ctime), uint64(id.UID), uint64(id.GID), uint64(id.Perm))
}

func hexFields(numbers ...uint64) string {
	var b []byte
	for _, n := range numbers {
		b = append(strconv.AppendUint(b, n, 16), '/')
	}
	return string(b)
}

// ParseID returns the ID of a regular file from its format, or the zero ID for
// anything else, such as a number that no field can hold.
func ParseID(s string) ID {
	bits := [...]int{64, 64, 63, 64, 64, 32, 32, 32}
	var n [len(bits)]uint64
	for i := range n {
		field, rest, _ := strings.Cut(s, "/")
		var err error
		if n[i], err = strconv.ParseUint(field, 16, bits[i]); err != nil {
			return ID{}
		}
		s = rest
	}
	return ID{
		Dev: n[0], Ino: n[1], Size: int64(n[2]), Mtime: int64(n[3]), Ctime: int64(n[4]),
		UID: uint32(n[5]), GID: uint32(n[6]), Perm: uint32(n[7]), Regular: true,
	}
}
