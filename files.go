package autorestart

import (
	"errors"
	"os"

	"github.com/autorestart-go/autorestart/internal/image"
	"github.com/autorestart-go/autorestart/internal/passing"
)

// errNilFile says what to call where Pass gets no file.
var errNilFile = errors.New("autorestart: Pass needs a file; Unpass ends passing on the one with that name")

// Pass passes f on to the next image under the given name. [Inherited] returns the same
// open file there. The library keeps a descriptor of its own, which crosses every exec
// until another file is passed under the name, or [Unpass] is called. The caller still
// owns f.
//
// The names belong to the program alone. They never collide with those of package
// sockets.
//
// A file that a stand-in passes on, see [StandIn], is closed when the stand-in exits.
//
// Only versions that contain this library inherit anything. Pass fails
//   - when f is nil; the file that had the name before keeps it
//   - when the table of descriptors is full
//   - with an error that wraps [errors.ErrUnsupported] on systems without an exec.
func Pass(name string, f *os.File) error {
	if f == nil {
		return errNilFile
	}
	return image.Current().Store.Pass(passing.ProgramName(name), f)
}

// Unpass undoes [Pass]: the file with the given name is not passed on any more, whether
// this image or an earlier one has passed it. Unpass closes the library's own descriptor.
// Files that [Inherited] has returned stay open. If no file has the name, Unpass does
// nothing.
func Unpass(name string) { image.Current().Store.Unpass(passing.ProgramName(name)) }

// Inherited returns the file that this image or an earlier one has passed on under the
// given name, and claims it. If no file has the name, the error wraps [os.ErrNotExist].
// The caller owns the returned file. The library keeps its own descriptor, which crosses
// further execs, see [Pass].
//
// [Ready] closes the files that this version has not claimed. If the previous version has
// set a [Restarter.HealthTimeout], they are closed when that time is over. In a version
// that is not on trial, they are closed after one minute even without a call of Ready.
func Inherited(name string) (*os.File, error) {
	return image.Current().Store.Inherited(passing.ProgramName(name))
}

// InheritedFiles returns the sorted names of the files that an earlier image has passed
// on and that will cross the next exec, whether this image has claimed them or not. A
// file that this image has passed on itself is not in the list, even under the name of an
// inherited one. The sockets of package sockets are not in the list.
func InheritedFiles() []string { return image.Current().Store.InheritedFiles() }

// SetState passes a few bytes on to the next image under the given name: a counter, a
// session key, a cache. The value crosses every exec until SetState is called again with
// that name. A nil value removes the state. An empty value that is not nil is a state. A
// state and a file may have the same name. For values that a stand-in sets, see [StandIn].
//
// The library keeps a copy of value. It writes the copy out while the program is drained
// for the exec: megabytes take milliseconds, a gigabyte takes seconds.
func SetState(name string, value []byte) {
	image.Current().Store.SetState(passing.ProgramName(name), value)
}

// State returns the value that this image or an earlier one has set under the given name,
// and reports whether there is one. States that this version has not read are dropped
// when unclaimed files are closed, see [Inherited].
func State(name string) (value []byte, ok bool) {
	return image.Current().Store.State(passing.ProgramName(name))
}
