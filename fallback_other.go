//go:build !linux || autorestart_portable

// Everything for systems that are not Linux, in terms of the standard library.
// The build tag autorestart_portable selects it on Linux too, which is how it
// is tested.

package autorestart

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/sys"
)

// newEvents has nothing to offer: the watcher polls.
func newEvents() (events, error) {
	return nil, errors.ErrUnsupported
}

// runningID is the file that this image was executed from.
func runningID() fileID { return self.launch.id }

// executablesAreBusy: not every system keeps writers away from what is executed.
const executablesAreBusy = false

// openRunning fails: there is no handle on the image of a process here once its
// path leads elsewhere.
func openRunning() (*os.File, error) {
	return nil, errors.ErrUnsupported
}

// kindOf reads the kind of the file that f is; zero if it can't be told.
func kindOf(f *os.File) imageKind {
	id, err := statFile(f)
	if err != nil {
		return imageKind{}
	}
	kind, err := readKind(f, id.size)
	if err != nil {
		return imageKind{}
	}
	return kind
}

// launchKind is read at package initialisation, if the image is still at the path
// then.
var launchKind = func() imageKind {
	f, err := openCandidate(self.launch.path)
	if err != nil {
		return imageKind{}
	}
	defer f.Close()
	if id, err := statFile(f); err != nil || id != self.launch.id {
		return imageKind{}
	}
	return kindOf(f)
}()

// runningKind is the kind of this process's own image; zero if it can't be told.
func runningKind() imageKind { return launchKind }

// openForWriting can't tell.
func openForWriting(*os.File) bool { return false }

// lacksCapabilities: there are none.
func lacksCapabilities(_, _ *os.File) bool { return false }

// launchID is the file that this image was executed from, by the word of the image
// before it. Without that it is what is at the path now, for all that can be
// told: it may have been replaced since the exec.
func launchID(path string, inherited *handover.State) fileID {
	if id := parseFileID(inherited.Texts[handover.Image]); id != (fileID{}) {
		return id
	}
	id, _ := statPath(path)
	return id
}

// formatFileID formats what [parseFileID] parses.
func formatFileID(id fileID) string {
	return contentMark(id) + hexFields(uint64(id.ctime), uint64(id.uid), uint64(id.gid), uint64(id.perm))
}

// parseFileID returns the identity of a regular file, or zero for anything that
// is none.
func parseFileID(s string) fileID {
	var n [8]uint64
	for i := range n {
		field, rest, _ := strings.Cut(s, "/")
		var err error
		if n[i], err = strconv.ParseUint(field, 16, 64); err != nil {
			return fileID{}
		}
		s = rest
	}
	return fileID{
		dev: n[0], ino: n[1], size: int64(n[2]), mtime: int64(n[3]), ctime: int64(n[4]),
		uid: uint32(n[5]), gid: uint32(n[6]), perm: uint32(n[7]), regular: true,
	}
}

// launchPath returns what the image before says, if there was one. Otherwise it is
// what argv[0] says, as long as that leads to the same file as what the system
// says: only argv[0] keeps a symbolic link.
func launchPath(inherited *handover.State) string {
	if path := inherited.Texts[handover.Path]; path != "" {
		return path
	}
	exe, exeErr := os.Executable()
	if len(os.Args) == 0 {
		return exe
	}
	byArgs := searchPath(os.Args[0])
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
		return absolute(name)
	}
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		file := filepath.Join(dir, name)
		if info, err := os.Stat(file); err == nil && !info.IsDir() && info.Mode()&0o111 != 0 {
			return absolute(file)
		}
	}
	return ""
}

// execMu has one exec at a time: each changes, for its moment, what the whole process
// shares.
var execMu sync.Mutex

// execImage replaces the image of this process by the candidate. It returns only if
// that failed; where there is no exec, or no exact one, with an error that wraps
// [errors.ErrUnsupported]. For a version without this library h is nil: its children
// would inherit the variable.
func execImage(c *candidate, exact bool, args []string, h *handover.State) error {
	if exact {
		return &os.PathError{Op: "execve by descriptor", Path: c.path, Err: errors.ErrUnsupported}
	}
	if h != nil {
		h.Texts[handover.Image] = formatFileID(c.id)
	}
	return execve(c.path, args, os.Environ(), h, c.stillThere)
}

// execve executes target unless lastLook returns an error. Nothing that takes time
// comes between the two.
func execve(target string, args, env []string, h *handover.State, lastLook func() error) error {
	execMu.Lock()
	defer execMu.Unlock()
	defer sys.LowerOpenFilesLimit()()
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if lastLook != nil {
		if err := lastLook(); err != nil {
			return err
		}
	}
	err := handover.Execute(target, args, env, h)
	return &os.PathError{Op: "execve", Path: target, Err: err}
}

const selfExe = "the running image" // has no path

// openPathOnly fails: no version is rolled back, see [handover.CanRollBack].
func openPathOnly(string) (*sys.FD, error) { return nil, errors.ErrUnsupported }

// execTransient reports whether an exec that failed so may succeed soon, with nothing
// changed.
func execTransient(err error) bool {
	return errors.Is(err, syscall.ETXTBSY) || errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.ENOMEM) ||
		errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.EMFILE) || errors.Is(err, os.ErrNotExist)
}

// stopIgnoring does nothing: no signal is ignored during an exec.
func stopIgnoring(int) {}
