package candidate

import (
	"errors"
	"io"

	"github.com/autorestart-go/autorestart/internal/elfimage"
)

// A System answers what this package has to know of files and of this process.
type System interface {
	// Open opens a regular file for reading. The error for anything else, which is not
	// opened, is [ErrNotRegular].
	Open(path string) (File, error)

	// Stat returns the ID of the file that the path leads to.
	Stat(path string) (ID, error)

	// StatFile returns the ID of an open file.
	StatFile(File) (ID, error)

	// MayExecute returns nil if this process may execute the file at the path, as far
	// as can be known before execve.
	MayExecute(path string, id ID) error

	// OpenForWriting reports whether the file is known to be open for writing.
	OpenForWriting(File) bool

	// HasCapabilities reports whether the file has capabilities, see capabilities(7), on a
	// file system where they count.
	HasCapabilities(File) bool

	// Credentials returns those of this process.
	Credentials() Credentials

	// Namespace returns what the owners of files mean to this process.
	Namespace() Namespace

	// Entry returns what is at the absolute path. A symbolic link there is not followed.
	// An ACL that lets no user write beside the mode need not be told.
	Entry(path string) (Entry, error)

	// Mount tells of the mount on which the file or directory at the path is, whose device
	// is dev.
	Mount(path string, dev uint64) Mount

	// RunningEntry returns the same of the file that this process executes.
	RunningEntry() (Entry, error)

	// RunningID returns the ID of the file that this process executes; zero if it is not
	// known. If the content of the file is another one by now, it is the ID that the file
	// had before.
	RunningID() ID

	// OpenRunning opens the file that this process executes, whatever its path leads to
	// by now. Unless RunningIsBusy, its content may be another one.
	OpenRunning() (File, error)

	// RunningKind returns the kind of the file that this process executes.
	RunningKind() elfimage.Kind

	// RunningIsBusy reports whether no process can write a file while it is executed.
	RunningIsBusy() bool

	// RunningChanged reports whether the file that this process executes has been written or
	// touched since, unless RunningIsBusy.
	RunningChanged() bool

	// RunningIsCoherent reports whether a read of that file finds nothing that its ID doesn't
	// tell of, and a read of another file at its path nothing of it.
	RunningIsCoherent() bool
}

// ErrNotRegular is returned by the Open of a [System].
var ErrNotRegular = errors.New("not a regular file")

// A File is open for reading.
type File interface {
	io.ReaderAt
	io.Closer
}

// Credentials decide whether a process has to be protected from other users.
type Credentials struct {
	// Privileged: the process has more rights than its user. It belongs to root, is
	// setuid or setgid, or has capabilities.
	Privileged bool
}

// CredentialsOf returns the credentials of a process with these IDs and no capabilities.
func CredentialsOf(uid, euid, gid, egid int) Credentials {
	return Credentials{Privileged: euid == 0 || uid != euid || gid != egid}
}
