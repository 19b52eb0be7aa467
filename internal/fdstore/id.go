package fdstore

import (
	"strconv"
	"strings"

	"github.com/autorestart-go/autorestart/internal/sys"
)

// An ID says which file a descriptor has open. A socket has another one than any other socket that
// exists at the same time.
type ID struct{ Dev, Ino uint64 }

// String returns the text that parseID parses.
func (id ID) String() string {
	return strconv.FormatUint(id.Dev, 10) + " " + strconv.FormatUint(id.Ino, 10)
}

func parseID(text string) (id ID, ok bool) {
	dev, ino, _ := strings.Cut(text, " ")
	var errs [2]error
	id.Dev, errs[0] = strconv.ParseUint(dev, 10, 64)
	id.Ino, errs[1] = strconv.ParseUint(ino, 10, 64)
	return id, errs == [2]error{}
}

// IDOf returns the ID of what a descriptor has open.
func IDOf(fd int) (ID, error) {
	st, err := sys.StatDescriptor(fd)
	return ID{st.Dev, st.Ino}, err
}
