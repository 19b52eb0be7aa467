package autorestart

import (
	"errors"
	"os"

	"github.com/autorestart-go/autorestart/internal/image"
	"github.com/autorestart-go/autorestart/internal/passing"
)

// errNilFile says what to call where Pass gets no file.
var errNilFile = errors.New("autorestart: Pass needs a file; Unpass ends passing on the one with that name")

// Pass passes f on to the next image under the given name: [Inherited] returns the
// same open file there. The library keeps a descriptor of its own, which crosses
// every exec until another file is passed under the name, or [Unpass] is called. The caller
// still owns f.
//
// Only the program uses these names. The sockets of package sockets have others, whatever the
// name is.
//
// Only versions that contain this library inherit anything. Pass fails
//   - when f is nil; a file that was passed under the name before still is
//   - when the table of descriptors is full
//   - with an error that wraps [errors.ErrUnsupported] on systems without an exec.
func Pass(name string, f *os.File) error {
	if f == nil {
		return errNilFile
	}
	return image.Current().Store.Pass(passing.ProgramName(name), f)
}

// Unpass ends passing a file on, which this image or an earlier one has passed under the given
// name. It closes the library's own descriptor. Files that [Inherited] has returned stay open.
// If no file has the name, Unpass does nothing.
func Unpass(name string) { image.Current().Store.Unpass(passing.ProgramName(name)) }

// Inherited returns the file that an earlier image, or this one, has passed on under
// the given name, and claims it. The caller owns the file. The library's own
// descriptor crosses further execs, see [Pass]. The error wraps [os.ErrNotExist] if
// there is none.
//
// [Ready] closes the files that this version has not claimed, or the end of the
// [Restarter.HealthTimeout]. Without a call of Ready they are closed after one minute.
func Inherited(name string) (*os.File, error) {
	return image.Current().Store.Inherited(passing.ProgramName(name))
}

// InheritedFiles returns, sorted, the names of the files that were passed to this image and
// still cross the next exec, claimed or not. Files that this image has passed on itself are not
// among them, also where they have taken the name of an inherited one. Nor are the sockets of
// package sockets.
func InheritedFiles() []string { return image.Current().Store.InheritedFiles() }

// SetState passes a few bytes on to the next image under a name: a counter, a session
// key, a cache. They cross every exec until the name is set again. A nil value removes the
// state; an empty one that is not nil is a state. The names are not those of files. The
// library keeps a copy, and writes it out while the program is drained for the exec:
// megabytes take milliseconds, a gigabyte takes seconds.
func SetState(name string, value []byte) {
	image.Current().Store.SetState(passing.ProgramName(name), value)
}

// State returns what an earlier image, or this one, has set under the given name, and
// whether there is any. [Ready] drops states that this version has not read, see
// [Inherited].
func State(name string) (value []byte, ok bool) {
	return image.Current().Store.State(passing.ProgramName(name))
}
