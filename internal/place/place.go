// Package place puts a file in the place of an executable, so that a process that runs the executable never sees half
// of it, and keeps the previous version beside it.
package place

import (
	"errors"
	"strconv"
	"time"
)

// PreviousSuffix is that of the file with the previous version, beside the executable.
const PreviousSuffix = ".previous"

// signatureSuffixes are those of package verify.
var signatureSuffixes = [...]string{".sig", ".sigph"}

// A Result says what [Placement.Commit] has done.
type Result struct {
	Target   string   // the file that was replaced, with no symbolic link in its path
	Mark     string   // of the new file, as candidate.ID.Mark formats it
	Previous string   // the file with the previous version
	Warnings []string // what a user should know, each a sentence without a period
}

// A foundError says what is wrong with a file, and what would be right.
type foundError struct{ path, found, expected string }

func (e *foundError) Error() string {
	return e.path + ": found " + e.found + ", expected " + e.expected
}

// ErrNoPrevious says that there is no previous version.
var ErrNoPrevious = errors.New("there is no previous version")

// A lockError says that another process has kept the lock of the directory.
type lockError struct {
	dir    string
	within time.Duration
}

func (e *lockError) Error() string {
	return "cannot lock the directory " + e.dir + ", where another process deploys, within " + e.within.String() + "; nothing was changed"
}

// An attributeError says that the new file can't have an attribute of the old one.
type attributeError struct {
	path, attribute string
	err             error
}

func (e *attributeError) Error() string {
	return e.path + ": cannot keep " + e.attribute + " (" + e.err.Error() + "); deploy as root, or as the owner of the file"
}

func (e *attributeError) Unwrap() error { return e.err }

func ownerText(uid, gid uint32) string {
	return "the owner " + strconv.FormatUint(uint64(uid), 10) + ":" + strconv.FormatUint(uint64(gid), 10)
}
