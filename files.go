package autorestart

import (
	"os"

	"github.com/autorestart-go/autorestart/internal/passing"
)

// Pass passes f on to the next image under the given name: [Inherited] returns the
// same open file there. The library keeps a descriptor of its own, which crosses
// every exec until another file is passed under the name, or a nil f. The caller
// still owns f.
//
// Only versions that contain this library inherit anything. Pass fails
//   - when the table of descriptors is full
//   - with an error that wraps [errors.ErrUnsupported] on systems without an exec.
func Pass(name string, f *os.File) error { return passing.Process.Pass(name, f) }

// Inherited returns the file that an earlier image, or this one, has passed on under
// the given name, and claims it. The caller owns the file. The library's own
// descriptor crosses further execs, see [Pass]. The error wraps [os.ErrNotExist] if
// there is none.
//
// [Ready] closes the files that this version has not claimed. Without a call of Ready
// they are closed after one minute.
func Inherited(name string) (*os.File, error) { return passing.Process.Inherited(name) }

// InheritedNames returns, sorted, the names of the files that were passed to this
// image or by it and are still open, claimed or not.
func InheritedNames() []string { return passing.Process.Names() }

// SetState passes a few bytes on to the next image under a name: a counter, a session
// key, a cache. They cross every exec until the name is set again, or set to nil. The
// library keeps a copy, and writes it out while the program is drained for the exec:
// megabytes take milliseconds, a gigabyte takes seconds.
func SetState(name string, value []byte) { passing.Process.SetState(name, value) }

// State returns what an earlier image, or this one, has set under the given name, and
// whether there is any. [Ready] drops states that this version has not read, see
// [Inherited].
func State(name string) (value []byte, ok bool) { return passing.Process.State(name) }
