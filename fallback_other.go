//go:build !linux || autorestart_portable

// Everything for systems that are not Linux, in terms of the standard library.
// The build tag autorestart_portable selects it on Linux too, which is how it
// is tested.

package autorestart

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/autorestart-go/autorestart/internal/candidate"
	"github.com/autorestart-go/autorestart/internal/children"
	"github.com/autorestart-go/autorestart/internal/elfimage"
	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/sys"
	"github.com/autorestart-go/autorestart/internal/watch"
)

// eventSet is the [watch.Events] of this process, without any source: the watcher polls.
type eventSet struct{}

func (*eventSet) Open() (watch.Source, error) { return nil, errors.ErrUnsupported }

// newEvents closes the descriptors that a version with events has handed over: this one would let
// their queues fill.
func newEvents(handed, _ []int) *eventSet {
	for _, fd := range handed {
		sys.NewFD(fd).Close()
	}
	return new(eventSet)
}

// beginHandover returns nothing: there are no descriptors of events.
func (*eventSet) beginHandover() (fds, watches []int) { return nil, nil }

func (*eventSet) cancelHandover() {}

// fileSystem is the [candidate.System] of this process.
type fileSystem struct {
	launchID   candidate.ID  // of the file that this image was executed from
	launchKind elfimage.Kind // likewise; zero if it is not known
}

// newFileSystem is called while the package is initialised. The kind of the image can
// be told if the image is still at the path then. It takes over the descriptor by which the image
// was executed: by one of Linux without the tag.
func newFileSystem(launchPath string, inherited *handover.State) *fileSystem {
	if executed := inherited.Number(handover.Executable); executed != 0 {
		sys.NewFD(executed).Close()
	}
	s := &fileSystem{launchID: launchID(launchPath, inherited)}
	c, rejection := candidate.Open(s, launchPath)
	if rejection != nil {
		return s
	}
	defer c.Close()
	if c.ID == s.launchID {
		s.launchKind, _ = elfimage.ReadKind(c.File, c.ID.Size)
	}
	return s
}

func (*fileSystem) MayExecute(path string, _ candidate.ID) error { return sys.MayExecute(path) }

// OpenForWriting can't tell.
func (*fileSystem) OpenForWriting(candidate.File) bool { return false }

// HasCapabilities: there are none.
func (*fileSystem) HasCapabilities(candidate.File) bool { return false }

func (*fileSystem) Credentials() candidate.Credentials {
	uid, euid, gid, egid, ok := sys.IDs()
	if !ok {
		return candidate.Credentials{}
	}
	return candidate.CredentialsOf(uid, euid, gid, egid)
}

// Namespace: every owner is known.
func (*fileSystem) Namespace() candidate.Namespace { return candidate.Namespace{} }

// Entry tells the owner and the mode, and nothing of mounts and ACLs.
func (*fileSystem) Entry(path string) (candidate.Entry, error) {
	st, err := sys.Lstat(path)
	if err != nil {
		return candidate.Entry{}, err
	}
	e := candidate.Entry{ID: candidate.ID(st.FileStat), Directory: st.Directory}
	if st.Symlink {
		e.Target, err = os.Readlink(path)
	}
	return e, err
}

// Mount tells nothing.
func (*fileSystem) Mount(string, uint64) candidate.Mount { return candidate.Mount{} }

func (s *fileSystem) RunningEntry() (candidate.Entry, error) {
	return candidate.Entry{ID: s.launchID}, nil
}

func (s *fileSystem) RunningID() candidate.ID { return s.launchID }

// RunningChanged makes no difference: it is executed once, see [handover.CanRollBack].
func (*fileSystem) RunningChanged() bool { return false }

// OpenRunning fails: there is no handle on the image of a process here once its path
// leads elsewhere.
func (*fileSystem) OpenRunning() (candidate.File, error) { return nil, errors.ErrUnsupported }

// RunningIsBusy: not every system keeps writers away from a file that is executed.
func (*fileSystem) RunningIsBusy() bool { return false }

// RunningIsCoherent can't be told.
func (*fileSystem) RunningIsCoherent() bool { return false }

func (s *fileSystem) RunningKind() elfimage.Kind { return s.launchKind }

// launchID is the file that this image was executed from, by the word of the image
// before it. Without that it is what is at the path now, for all that can be
// told: it may have been replaced since the exec.
func launchID(path string, inherited *handover.State) candidate.ID {
	if id := candidate.ParseID(inherited.Texts[handover.Image]); id != (candidate.ID{}) {
		return id
	}
	id, _ := statID(sys.Stat(path))
	return id
}

// launchPath returns what the previous image says, if there was one. Otherwise it is
// what argv[0] says, as long as that leads to the same file as what the system
// says: only argv[0] keeps a symbolic link. For a secure image it can't be told: not every
// system says more than the starter did.
func launchPath(inherited *handover.State) string {
	if path := inherited.Texts[handover.Path]; path != "" {
		return path
	}
	if handover.Secure {
		return ""
	}
	exe, exeErr := os.Executable()
	if len(os.Args) == 0 {
		return exe
	}
	byArgs := searchPath(strings.Clone(os.Args[0])) // which a title may overwrite, see package origin
	if byArgs == "" || exeErr != nil {
		return exe
	}
	a, errA := os.Stat(byArgs)
	b, errB := os.Stat(exe)
	if errA != nil || errB != nil || !os.SameFile(a, b) {
		return exe
	}
	return byArgs
}

// searchPath finds a program by name as a shell would, and returns an absolute
// path, or "".
func searchPath(name string) string {
	if strings.ContainsRune(name, '/') || strings.ContainsRune(name, os.PathSeparator) {
		return absoluteLogical(name)
	}
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		file := name // in the working directory
		if dir != "" {
			file = dir + string(os.PathSeparator) + name // not cleaned, as in absolute
		}
		if info, err := os.Stat(file); err == nil && !info.IsDir() && info.Mode()&0o111 != 0 {
			return absoluteLogical(file)
		}
	}
	return ""
}

// executableDescriptor fails: a program is executed by its path.
func (*fileSystem) executableDescriptor(*candidate.Candidate) (fd int, ok bool) { return 0, false }

// executableCopy: no file is executed from memory.
func (*fileSystem) executableCopy(*candidate.Candidate) (*os.File, error) { return nil, nil }

// readUncached does nothing: no system but Linux is known to need it.
func readUncached(*os.File) {}

// HoldLease fails: nothing keeps writers away.
func (*fileSystem) HoldLease(candidate.File) bool { return false }

// EndLease does nothing: there is none.
func (*fileSystem) EndLease(candidate.File) {}

// LeaseIsBreaking: there is none.
func (*fileSystem) LeaseIsBreaking(candidate.File) bool { return false }

// keepsReplaced: no other system is known to mount single files.
func (*fileSystem) keepsReplaced(string) bool { return false }

// whyByPath: no system but Linux executes a descriptor.
func (*fileSystem) whyByPath() error { return errors.ErrUnsupported }

const selfExe = "the running image" // has no path

// openImage fails, as openPathOnly does.
func (*fileSystem) openImage() (image *sys.FD, original string, err error) {
	return nil, "", errors.ErrUnsupported
}

// savedImage: no image is executed again.
func (*fileSystem) savedImage() *os.File { return nil }

// openPathOnly fails: no version is rolled back, see [handover.CanRollBack].
func openPathOnly(string) (*sys.FD, error) { return nil, errors.ErrUnsupported }

// childTable is the [reap.Table] of this process. A child is known by its PID, and SIGCHLD says that
// some child has exited.
type childTable struct{ children.Table }
