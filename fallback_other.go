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
	"github.com/autorestart-go/autorestart/internal/files"
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

// runningImage is the image of this process, which is executed once.
type runningImage struct{ files *files.View }

// newView is called while the package is initialised. The kind of the image can
// be told if the image is still at the path then. It takes over the descriptor by which the image
// was executed: by one of Linux without the tag.
func newView(launchPath string, inherited *handover.State) *files.View {
	if executed := inherited.Number(handover.Executable); executed != 0 {
		sys.NewFD(executed).Close()
	}
	v := &files.View{LaunchID: launchID(launchPath, inherited)}
	c, rejection := candidate.Open(v, launchPath)
	if rejection != nil {
		return v
	}
	defer c.Close()
	if c.ID == v.LaunchID {
		v.Kind, _ = elfimage.ReadKind(c.File, c.ID.Size)
	}
	return v
}

// launchID is the file that this image was executed from, by the word of the image
// before it. Without that it is what is at the path now, for all that can be
// told: it may have been replaced since the exec.
func launchID(path string, inherited *handover.State) candidate.ID {
	if id := candidate.ParseID(inherited.Texts[handover.Image]); id != (candidate.ID{}) {
		return id
	}
	id, _ := files.Stat(path)
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
func (*runningImage) executableDescriptor(*candidate.Candidate) (fd int, ok bool) { return 0, false }

// executableCopy: no file is executed from memory.
func (*runningImage) executableCopy(*candidate.Candidate) (*os.File, error) { return nil, nil }

// whyByPath: no system but Linux executes a descriptor.
func (*runningImage) whyByPath() error { return errors.ErrUnsupported }

const selfExe = "the running image" // has no path

// openImage fails, as openPathOnly does.
func (*runningImage) openImage() (image *sys.FD, original string, err error) {
	return nil, "", errors.ErrUnsupported
}

// savedImage: no image is executed again.
func (*runningImage) savedImage() *os.File { return nil }

// openPathOnly fails: no version is rolled back, see [handover.CanRollBack].
func openPathOnly(string) (*sys.FD, error) { return nil, errors.ErrUnsupported }

// childTable is the [reap.Table] of this process. A child is known by its PID, and SIGCHLD says that
// some child has exited.
type childTable struct{ children.Table }
