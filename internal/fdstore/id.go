package fdstore

import (
	"strconv"
	"strings"
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
