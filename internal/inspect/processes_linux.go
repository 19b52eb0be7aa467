//go:build !autorestart_portable

package inspect

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/candidate"
	"github.com/autorestart-go/autorestart/internal/files"
	"github.com/autorestart-go/autorestart/internal/sys"
)

// A process may end at any time, and its PID may be that of another process then. proc leads to
// /proc/PID by a descriptor, which stays that of the process.
type process struct {
	pid   int
	fd    *sys.FD
	proc  string // followed by the name of a file
	image candidate.ID
	path  string // of the executable, as the process sees it
}

func openProcess(pid int) (*process, error) {
	fd, err := sys.Open("/proc/"+strconv.Itoa(pid), unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	p := &process{pid: pid, fd: fd, proc: descriptorPath(fd.Int()) + "/"}
	if p.image, err = files.Stat(p.proc + "exe"); err != nil {
		fd.Close()
	}
	return p, err
}

// hasEnded reports whether the process is gone, or a zombie.
func (p *process) hasEnded() bool {
	_, err := files.Stat(p.proc + "exe")
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH)
}

func descriptorPath(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// An executable is the file at a path, as this process sees it.
type executable struct {
	path string       // absolute
	real string       // without symbolic links
	id   candidate.ID // zero if there is no file
}

func findExecutable(path string) (e executable, err error) {
	if e.path, err = absolute(path); err != nil {
		return e, err
	}
	if e.real, err = realPath(e.path); err == nil {
		e.id, err = files.Stat(e.path)
		return e, err
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return e, err
	}
	slash := strings.LastIndexByte(e.path, '/')
	dir, err := realPath(e.path[:slash+1])
	e.real = strings.TrimSuffix(dir, "/") + e.path[slash:]
	return e, err
}

// absolute does not clean the path: in "link/../app" the dots belong to what the link leads to.
func absolute(path string) (string, error) {
	if path != "" && path[0] == '/' {
		return path, nil
	}
	dir, err := os.Getwd()
	return strings.TrimSuffix(dir, "/") + "/" + path, err
}

// realPath resolves a path as the kernel does, also links of proc(5).
func realPath(path string) (string, error) {
	fd, err := sys.Open(path, unix.O_PATH)
	if err != nil {
		return "", &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer fd.Close()
	return os.Readlink(descriptorPath(fd.Int()))
}

// A hiddenError says that a process may run the executable.
type hiddenError struct {
	pid  int
	path string
	uid  uint32
}

func (e *hiddenError) Error() string {
	return fmt.Sprintf("process %d, which may run %s: found a process of UID %d whose executable this user can't see, expected one of UID %d: run this command as root",
		e.pid, e.path, e.uid, os.Geteuid())
}

// find returns the processes that run the executable: the file at its path, or one that was there. If
// there is none, it returns those that see the file that they run at this path, in a root directory or
// mount namespace of their own. The errors are about processes that may run the executable.
func find(e executable) (found []*process, hidden []error, err error) {
	pids, err := sys.ReadNumbered("/proc")
	if err != nil {
		return nil, nil, err
	}
	var elsewhere []*process
	for _, pid := range pids {
		if pid == os.Getpid() {
			continue
		}
		p, err := openProcess(pid)
		if errors.Is(err, fs.ErrPermission) {
			if err := hiddenProcess(pid, e); err != nil {
				hidden = append(hidden, err)
			}
		}
		if err != nil {
			continue // a thread of the kernel, or a process that has ended
		}
		here, there := p.runs(e)
		switch {
		case here:
			found = append(found, p)
		case there:
			elsewhere = append(elsewhere, p)
		default:
			p.fd.Close()
		}
	}
	if len(found) == 0 {
		return elsewhere, hidden, nil
	}
	closeAll(elsewhere)
	return found, hidden, nil
}

func closeAll(processes []*process) {
	for _, p := range processes {
		p.fd.Close()
	}
}

// hiddenProcess returns an error if the process may run the executable, by what everybody can see of it.
func hiddenProcess(pid int, e executable) error {
	proc := "/proc/" + strconv.Itoa(pid) + "/"
	args, err := os.ReadFile(proc + "cmdline")
	if err != nil {
		return nil
	}
	name, err := os.ReadFile(proc + "comm")
	if err != nil || !e.isNamed(args, name) {
		return nil
	}
	c, err := readCredentials(proc)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return err
	}
	return &hiddenError{pid, e.path, c.UIDs[1]}
}

// isNamed reports whether a process with such files in /proc may run the executable. The first argument
// says which one it is, if it is an absolute path. Otherwise the name of the process counts, which is
// that of the file at first, and cut. A process without arguments has ended, or is one of the kernel.
func (e *executable) isNamed(cmdline, comm []byte) bool {
	if len(cmdline) == 0 {
		return false
	}
	const longest = 15
	arg, _, _ := bytes.Cut(cmdline, []byte{0})
	if path := string(arg); strings.HasPrefix(path, "/") {
		id, err := files.Stat(path)
		return path == e.path || path == e.real || err == nil && isFile(id, e.id)
	}
	name := e.path[strings.LastIndexByte(e.path, '/')+1:]
	return string(bytes.TrimSuffix(comm, []byte{'\n'})) == name[:min(len(name), longest)]
}

// deleted is what the kernel adds to the path of a file that is not there any more.
const deleted = " (deleted)"

// runs reports whether the process runs the executable, or one that it sees at the same path, and
// notes the path.
func (p *process) runs(e executable) (here, there bool) {
	text, err := os.Readlink(p.proc + "exe")
	if err != nil {
		return false, false
	}
	sharesRoot := p.sharesRoot()
	if sharesRoot {
		p.path = e.path
		return isFile(p.image, e.id) || text == e.real+deleted, false
	}
	if isFile(p.image, e.id) {
		p.path = p.inRoot(strings.TrimSuffix(text, deleted))
		return true, false
	}
	p.path = e.path
	final, err := locate(p.proc+"root", e.path)
	if err != nil {
		return false, false
	}
	id, err := files.Stat(p.proc + "root" + final)
	return false, err == nil && isFile(p.image, id) || p.inRoot(text) == final+deleted
}

func isFile(a, b candidate.ID) bool { return a.Dev == b.Dev && a.Ino == b.Ino && a.Ino != 0 }

// sharesRoot reports whether paths lead the process to the same files as this process.
func (p *process) sharesRoot() bool {
	own, err := files.Stat("/")
	root, rootErr := files.Stat(p.proc + "root")
	return err == nil && rootErr == nil && isFile(own, root) && p.namespace("mnt") == ownNamespace("mnt")
}

// namespace identifies a namespace of the process; "" if that is not known.
func (p *process) namespace(kind string) string {
	name, _ := os.Readlink(p.proc + "ns/" + kind)
	return name
}

func ownNamespace(kind string) string {
	name, _ := os.Readlink("/proc/self/ns/" + kind)
	return name
}

// inRoot returns a path as it is below the root directory of the process. The links of proc(5) show it
// from the root of its mount namespace.
func (p *process) inRoot(path string) string {
	root, err := os.Readlink(p.proc + "root")
	if rest, ok := strings.CutPrefix(path, strings.TrimSuffix(root, "/")); ok && err == nil && strings.HasPrefix(rest, "/") {
		return rest
	}
	return path
}

// locate resolves the symbolic links of a path as a process with the given root directory does. The
// result leads to the same file if it is appended to root.
func locate(root, path string) (final string, err error) {
	isLink := false
	steps := candidate.PathSteps(path, func(name string) (string, error) {
		target, err := os.Readlink(root + name)
		if isLink = err == nil; errors.Is(err, unix.EINVAL) {
			return "", nil
		}
		return target, err
	})
	switch {
	case len(steps) == 0:
		return "", &os.PathError{Op: "resolve", Path: path, Err: unix.EISDIR}
	case isLink: // one too many
		return "", &os.PathError{Op: "resolve", Path: path, Err: unix.ELOOP}
	}
	last := steps[len(steps)-1]
	return strings.TrimSuffix(last.Dir, "/") + "/" + last.Name, nil
}
