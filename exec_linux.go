//go:build !autorestart_portable

// How the image is replaced, and how it was started.
//
//	call             since    without it
//	execve(2)        ever     -
//	O_PATH           2.6.39   no rollback
//	AT_EXECFN        2.6.27   the path where /proc/self/exe leads, without symbolic links
//	PR_SET_NAME      2.6.9    the process is named after a descriptor
//	memfd_create(2)  3.17     no restart by a file that has the page cache of the running image
//
// What execve keeps is told in its man page; what needs care beside it, at
// process.execve. Under an emulator /proc/self/exe is not the running image, see isEmulated.

package autorestart

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/candidate"
	"github.com/autorestart-go/autorestart/internal/elfimage"
	"github.com/autorestart-go/autorestart/internal/files"
	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/sys"
)

// selfExe leads to the running image, whatever has become of its path, unless an emulator
// runs it.
const selfExe = "/proc/self/exe"

// runningImage is the image of this process, to be executed again, and in the way of candidates that
// are on its file system.
type runningImage struct {
	files *files.View

	saving sync.Mutex
	saved  *os.File // see savedImage
}

// newView is called while the package is initialised. It takes over the descriptor by
// which this image was executed.
func newView(launchPath string, inherited *handover.State) *files.View {
	told := candidate.ParseID(inherited.Texts[handover.Image]) // by the previous image
	named := told
	if told == (candidate.ID{}) {
		named, _ = files.Stat(launchPath)
	}
	exe, _ := files.Stat(selfExe)
	// The kind is known without reading the image. For a machine that is not known here, execve has the last word.
	v := &files.View{Image: selfExe, Mounts: sys.OwnMounts, Kind: elfimage.KindOf(runtime.GOARCH, strconv.IntSize)}
	executed := inherited.Number(handover.Executable)
	if isEmulated(exe, named, v.Kind) {
		v.Image, v.LaunchID, v.Emulated = emulatedImage(launchPath, named, executed), named, true
		return v
	}
	if executed != 0 {
		sys.NewFD(executed).Close()
	}
	v.LaunchID = launchID(v, exe, told, named)
	return v
}

// isEmulated reports whether an emulator of its machine runs this image, see binfmt_misc in
// proc(5): then the kernel executes the emulator. exe is where /proc/self/exe leads; named is the
// file that this image is said to be executed from.
//
// An emulator, as qemu-user, shows the image to those who open or read the link
// /proc/self/exe, or what has become of its path. By stat(2), and by the name for one thread,
// they see the emulator itself.
func isEmulated(exe, named candidate.ID, own elfimage.Kind) bool {
	if exe == (candidate.ID{}) || exe.Dev == named.Dev && exe.Ino == named.Ino {
		return false
	}
	f, err := os.Open(taskPath(unix.Gettid(), "exe"))
	if err != nil {
		return false
	}
	defer f.Close()
	kind, err := elfimage.ReadKind(f, exe.Size)
	return err == nil && !own.IsZero() && !kind.SameAs(own)
}

// emulatedImage returns a path that leads to the image, which an emulator runs: to a
// descriptor of it, which stays open; "" if there is none. It takes over the descriptor by
// which the image was executed, or 0.
func emulatedImage(launchPath string, told candidate.ID, executed int) string {
	fd := sys.NewFD(executed)
	if executed == 0 {
		var err error
		if fd, err = openPathOnly(launchPath); err != nil {
			return ""
		}
	}
	path := handover.Target{FD: fd.Int()}.ExecPath()
	if id, err := files.Stat(path); err != nil || !id.SameMark(&told) {
		fd.Close() // of another version
		return ""
	}
	return path
}

// executableDescriptor returns the descriptor of c, by which it can be executed where there
// is /proc: by its path there, since package execve takes a path. An interpreter would take that
// for the path of the program, also in its arguments.
func (r *runningImage) executableDescriptor(c *candidate.Candidate) (fd int, ok bool) {
	return int(c.File.(*os.File).Fd()), !r.files.Emulated
}

// whyByPath returns why a version is executed by its path, and not by a descriptor; nil if
// that is not so.
func (r *runningImage) whyByPath() error {
	if r.files.Emulated {
		return errEmulated
	}
	_, err := sys.Stat(selfExe)
	return err
}

var errEmulated = errors.New("this program runs in an emulator")

// openImage opens the running image in order to execute it later. If that is a copy, original is
// the file that it is a copy of: the copy itself has neither the owners by which versions are
// judged, nor their device. The error wraps [errors.ErrUnsupported] if that is not possible at all.
func (r *runningImage) openImage() (image *sys.FD, original string, err error) {
	path, saved := r.files.Image, r.savedImage()
	if saved != nil {
		path = descriptorPath(saved)
	}
	if saved != nil || isCopy() {
		original = r.files.LaunchID.Format()
	}
	image, err = openPathOnly(path)
	if err == unix.ENOENT || err == unix.EACCES { // without a /proc to search, or without a descriptor
		err = errors.ErrUnsupported
	}
	return image, original, err
}

// executableCopy returns a copy of c in memory, which the caller closes, if c has to be executed
// from one; nil otherwise.
//
// On a path-based FUSE file system, a file that has come in place of the running image has its
// page cache, too. While execve reads the one, threads of the other fill it with their code,
// and the new image would begin with a mixture of both.
func (r *runningImage) executableCopy(c *candidate.Candidate) (*os.File, error) {
	if !r.needsCopy(c) {
		return nil, nil
	}
	return copyInMemory(c)
}

// savedImage returns a copy of the running image in memory, which stays open, if its file is on
// FUSE; nil otherwise, and if it can't be had any more. There the file of the running image is
// lost with the next deploy, see executableCopy, so the copy is made when the first Restarter
// with a ReadyTimeout begins to run.
func (r *runningImage) savedImage() *os.File {
	r.saving.Lock()
	defer r.saving.Unlock()
	if r.saved == nil {
		r.saved = r.saveImage()
	}
	return r.saved
}

func (r *runningImage) saveImage() *os.File {
	if r.files.Emulated || !r.files.RunningIsOnFUSE() {
		return nil
	}
	if _, changed, err := r.files.Running(); changed || err != nil {
		return nil
	}
	f, err := r.files.Open(selfExe)
	if err != nil {
		return nil
	}
	defer f.Close()
	saved, err := copyInMemory(&candidate.Candidate{Path: selfExe, File: f, ID: r.files.LaunchID})
	if err != nil {
		return nil
	}
	// What the kernel knows of the file may be a second old. It asks the file system.
	var st unix.Statx_t
	err = unix.Statx(int(f.(*os.File).Fd()), "", unix.AT_EMPTY_PATH|unix.AT_STATX_FORCE_SYNC, unix.STATX_BASIC_STATS, &st)
	if _, changed, runningErr := r.files.Running(); err != nil || changed || runningErr != nil {
		saved.Close() // it may be of another version
		return nil
	}
	return saved
}

// copyInMemory returns a copy of c that can be executed, and that no process can write.
func copyInMemory(c *candidate.Candidate) (*os.File, error) {
	const longest = 249 // bytes, of the name of a memfd
	name := filepath.Base(c.Path)
	name = name[:min(longest, len(name))]
	writable, err := memfd(name, unix.MFD_EXEC)
	if err == unix.EINVAL { // before Linux 6.3
		writable, err = memfd(name, 0)
	}
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	defer writable.Close()
	if err := copyContent(writable, c); err != nil {
		return nil, err
	}
	const seals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	if _, err := unix.FcntlInt(writable.Fd(), unix.F_ADD_SEALS, seals); err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	// What is open for writing can't be executed.
	fd, err := sys.Open(descriptorPath(writable), unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	return fd.File(c.Path), nil
}

// needsCopy reports whether c has to be executed from a copy. After one image, all further ones
// on that file system have to be: there, no image is safe from what is written later.
func (r *runningImage) needsCopy(c *candidate.Candidate) bool {
	switch {
	case c.Kind.ELF == nil || r.files.Emulated:
		return false
	case isCopy():
		return c.ID.Dev == r.files.LaunchID.Dev
	}
	exe, err := sys.Stat(selfExe)
	return err == nil && r.files.RunningIsOnFUSE() && exe.Dev == c.ID.Dev && exe.Ino == c.ID.Ino
}

// copyContent writes the content of c. It does without io.Copy, which makes a program 60 kB larger.
func copyContent(to *os.File, c *candidate.Candidate) error {
	buffer := make([]byte, 256<<10)
	for at := int64(0); at < c.ID.Size; {
		n, err := c.File.ReadAt(buffer[:min(int64(len(buffer)), c.ID.Size-at)], at)
		if _, err := to.Write(buffer[:n]); err != nil {
			return err
		}
		if at += int64(n); err != nil && at < c.ID.Size {
			return err
		}
	}
	return nil
}

// memfd wraps memfd_create(2).
func memfd(name string, flags int) (*os.File, error) {
	fd, err := sys.AboveStandard(unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|flags))
	if err != nil {
		return nil, err
	}
	return fd.File(name), nil
}

func descriptorPath(f *os.File) string { return "/proc/self/fd/" + strconv.Itoa(int(f.Fd())) }

// openPathOnly opens a file, which needn't be readable, in order to execute it later.
// The caller owns the descriptor, which can cross an exec.
func openPathOnly(path string) (*sys.FD, error) { return sys.Open(path, unix.O_PATH) }

// launchPath returns the path that this image was executed by.
//   - AT_EXECFN, the kernel's own word for it, holds for every way of starting a program:
//     relative, by PATH look-up, through a symbolic link, with a made-up argv[0]. A starter
//     with fewer rights has chosen it, so it does not count for a secure image.
//   - An exec through a descriptor or through /proc has no path of its own. Then the
//     previous image says which it was.
//   - Without that, it is where the link /proc/self/exe leads.
func launchPath(inherited *handover.State) string {
	started := execFn()
	byDescriptor := strings.HasPrefix(started, "/dev/fd/") || strings.HasPrefix(started, "/proc/")
	if started != "" && !byDescriptor && !handover.Secure {
		if path := absoluteLogical(started); path != "" {
			return path
		}
	}
	path := inherited.Texts[handover.Path]
	if path == "" {
		var err error
		if path, err = os.Readlink(selfExe); err != nil || leadsToCopy(path) {
			return ""
		}
		path = strings.TrimSuffix(path, " (deleted)")
	}
	if byDescriptor {
		setProcessName(path)
	}
	return path
}

// execFn returns the path that execve was called with: AT_EXECFN in getauxval(3); "" if it
// can't be told.
func execFn() (path string) {
	const atExecFn = 31
	value, ok := handover.Auxv(atExecFn)
	if !ok {
		return ""
	}
	// The string lies above the stack, where the kernel put it for good.
	return unix.BytePtrToString(*(**byte)(unsafe.Pointer(&value)))
}

// setProcessName gives the process the name that an exec of path would have
// given it. An exec by descriptor names it after the number. Package
// initialisation runs on the main thread, whose name that is: PR_SET_NAME in
// prctl(2).
func setProcessName(path string) {
	name, err := unix.BytePtrFromString(path[strings.LastIndexByte(path, '/')+1:])
	if err == nil {
		unix.RawSyscall(unix.SYS_PRCTL, unix.PR_SET_NAME, uintptr(unsafe.Pointer(name)), 0)
	}
}

// launchID is the file that this image was executed from: exe, where /proc/self/exe leads. That
// holds unless the file may have been written, or replaced, since the exec, or the image is a
// copy in memory: then what the previous image has told does. Without both, it is the named file.
func launchID(v *files.View, exe, told, named candidate.ID) candidate.ID {
	none := candidate.ID{}
	if exe != none && (told == none || told.SameMark(&exe) || v.RunningIsBusy() && !isCopy()) {
		return exe
	}
	return named
}

// isCopy reports whether this image is in memory.
func isCopy() bool {
	path, _ := os.Readlink(selfExe)
	return leadsToCopy(path)
}

func leadsToCopy(path string) bool { return strings.HasPrefix(path, "/memfd:") }
