package fdstore

import (
	"strconv"
	"strings"

	"github.com/autorestart-go/autorestart/internal/sys"
)

// An ID says which file a descriptor has open. A socket has another one than any other socket that
// exists at the same time, and each end of a pipe has its own.
type ID struct {
	Dev, Ino uint64
	Access   uint64 // for reading, for writing, or both
}

// String returns the text that parseID parses.
func (id ID) String() string {
	return strconv.FormatUint(id.Dev, 10) + " " + strconv.FormatUint(id.Ino, 10) + " " + strconv.FormatUint(id.Access, 10)
}

func parseID(text string) (id ID, ok bool) {
	numbers := strings.Split(text, " ")
	fields := [...]*uint64{&id.Dev, &id.Ino, &id.Access}
	if len(numbers) != len(fields) {
		return ID{}, false
	}
	for i, field := range fields {
		var err error
		if *field, err = strconv.ParseUint(numbers[i], 10, 64); err != nil {
			return ID{}, false
		}
	}
	return id, true
}

// IDOf returns the ID of what a descriptor has open.
func IDOf(fd int) (ID, error) {
	st, err := sys.StatDescriptor(fd)
	if err != nil {
		return ID{}, err
	}
	access, err := accessOf(fd)
	return ID{st.Dev, st.Ino, access}, err
}
