package activation

import (
	"os"
	"slices"

	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/sys"
)

// A number that was taken may stand for no other file as long as the variables are there. It gets a
// placeholder.

// placeholderText is the content of placeholders. Other versions of this library know
// them by it: it never changes.
const placeholderText = "autorestart: the socket that was passed here is taken\n"

// NewPlaceholder returns a file to put at a number that was taken. The caller owns it.
func NewPlaceholder() (*sys.FD, error) {
	n, err := handover.MemoryFile([]byte(placeholderText))
	if err != nil {
		return nil, err
	}
	return sys.NewFD(n), nil
}

// IsPlaceholder reports whether a descriptor has a placeholder open.
func IsPlaceholder(fd int) bool {
	st, err := sys.StatDescriptor(fd)
	if err != nil || !st.Regular || st.Size != int64(len(placeholderText)) {
		return false
	}
	b, err := handover.ReadMemoryFile(fd, len(placeholderText))
	return err == nil && string(b) == placeholderText
}

// Unset removes the variables from the environment.
func Unset() {
	for _, name := range Names {
		os.Unsetenv(name)
	}
}

// A File was taken from its number. The receiver owns the descriptor, which is close-on-exec.
type File struct {
	Name string
	FD   *sys.FD
}

// Take takes the files that names announces and for whose name own returns true. If these are all
// that is announced, it removes the variables. Otherwise each number gets a placeholder. A file stays
// if it can't be taken.
func Take(names []string, own func(name string) bool) (taken []File, err error) {
	if !slices.ContainsFunc(names, own) {
		return nil, nil
	}
	placeholder, err := NewPlaceholder()
	if err != nil {
		return nil, err
	}
	defer placeholder.Close()
	left := false
	for i, name := range names {
		number := FirstDescriptor + i
		closeOnExec, _, flagsErr := sys.Flags(number)
		switch {
		case flagsErr != nil || IsPlaceholder(number): // taken
		case closeOnExec || !own(name): // another part has taken it, or will
			left = true
		default:
			fd, err := take(number, placeholder)
			if err != nil {
				return taken, err
			}
			taken = append(taken, File{name, fd})
		}
	}
	if left || len(taken) == 0 {
		return taken, nil
	}
	Unset()
	for i := range names {
		if number := FirstDescriptor + i; IsPlaceholder(number) {
			sys.NewFD(number).Close()
		}
	}
	return taken, nil
}

// take returns what is open at the number, and puts a placeholder there.
func take(number int, placeholder *sys.FD) (*sys.FD, error) {
	fd, err := sys.Duplicate(number)
	if err != nil {
		return nil, err
	}
	if err := placeholder.DuplicateOver(number); err != nil {
		fd.Close()
		return nil, err
	}
	return fd, nil
}
