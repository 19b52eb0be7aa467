// Package candidate decides whether a file can be executed in place of the image that
// runs: whether its content differs, whether it is complete and for this machine, and
// whether it can be trusted. It asks the system through an interface.
package candidate

import (
	"io/fs"
	"time"

	"github.com/autorestart-go/autorestart/internal/elfimage"
)

// A Candidate is a file that may be the next image. It owns File.
type Candidate struct {
	Path  string
	File  File
	ID    ID
	Kind  elfimage.Kind  // set by [Rules.Judge]
	Build elfimage.Build // set by the caller
	Seen  time.Time      // when the file was noticed; set by the caller
}

// Open opens the regular file that the path leads to. The caller closes the candidate.
func Open(sys System, path string) (*Candidate, *Rejection) {
	f, err := sys.Open(path)
	switch {
	case err == ErrNotRegular:
		return nil, rejected("something that is not a regular file", "an executable file").at(path)
	case err != nil:
		return nil, Unreadable(path, err)
	}
	id, err := sys.StatFile(f)
	if err != nil {
		f.Close()
		return nil, Unreadable(path, err)
	}
	return &Candidate{Path: path, File: f, ID: id}, nil
}

// Close closes the file.
func (c *Candidate) Close() { c.File.Close() }

// A Rejection says why a file is not executed. No rejection is nil.
type Rejection struct {
	Path     string
	Found    string // what the file is
	Expected string // what it would have to be

	// Retryable: the file may become acceptable as it is, because it is still being
	// written or its mode still being set.
	Retryable bool

	// Outside: the reason is not in the file, but in a directory or a symbolic link of its
	// path, or in its mount. It passes without a change of the file.
	Outside bool

	Err error // the cause, where it is an error of its own

	ID ID // of the file, set by package watch; zero if there is none
}

func (r *Rejection) String() string {
	return r.Path + ": found " + r.Found + ", expected " + r.Expected
}

// rejected returns a rejection that does not pass by itself. It has no path.
func rejected(found, expected string) *Rejection {
	return &Rejection{Found: found, Expected: expected}
}

// notYet returns a rejection that may pass. It has no path.
func notYet(found, expected string, err error) *Rejection {
	return &Rejection{Found: found, Expected: expected, Retryable: true, Err: err}
}

// at sets the path; r may be nil.
func (r *Rejection) at(path string) *Rejection {
	if r != nil {
		r.Path = path
	}
	return r
}

// Unreadable returns the rejection of a file that can't be opened, or read to its end:
// it is missing, it is not for this user, it became shorter meanwhile, or the system
// is short of something. Each may pass.
func Unreadable(path string, err error) *Rejection {
	return notYet("no file that can be read ("+Cause(err).Error()+")", "a file that this process can read", err).at(path)
}

// Unsteady returns the rejection of a file that is ready if it is the same at the next
// look.
func Unsteady(path string) *Rejection {
	return notYet("a file whose format does not tell whether it is complete", "the same file at the next look", nil).at(path)
}

// AboutToBeWritten returns the rejection of a leased file that a writer waits for.
func AboutToBeWritten(path string) *Rejection {
	return notYet("a file that another process is about to write", "a file that stays as it was verified", nil).at(path)
}

// Cause returns err without operation and path.
func Cause(err error) error {
	if p, ok := err.(*fs.PathError); ok {
		return p.Err
	}
	return err
}
