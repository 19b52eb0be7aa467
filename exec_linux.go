//go:build !autorestart_portable

// How the image is replaced, and how it was started.
//
//	call            since    without it
//	execve(2)       ever     -
//	O_PATH          2.6.39   no rollback
//	AT_EXECFN       2.6.27   the path where /proc/self/exe leads, without symbolic links
//	PR_SET_NAME     2.6.9    the process is named after a descriptor
//
// What execve keeps is told in its man page; what needs care beside it, at
// process.execve.

package autorestart

import (
	"os"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/candidate"
	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/sys"
)

// selfExe leads to the running image, whatever has become of its path.
const selfExe = "/proc/self/exe"

// execImage replaces the image of this process by the candidate: by its path, or if
// exact by its descriptor, which needs /proc. For a version without this library h is
// nil: it would leave open what is handed over, and its children would inherit the
// variable. execImage returns only if the exec failed, and then everything is as it
// was.
func (p *process) execImage(c *candidate.Candidate, exact bool, h *handover.State, lastLook func() error) error {
	target := c.Path
	if exact {
		// Not execveat(2): only syscall.Exec keeps the runtime from starting threads.
		fd, err := fileDescriptor(c.File.(*os.File))
		if err != nil {
			return err
		}
		target = "/proc/self/fd/" + strconv.Itoa(fd)
	}
	return p.execve(target, p.launch.args, os.Environ(), h, lastLook)
}

// openPathOnly opens a file, which needn't be readable, in order to execute it later.
// The caller owns the descriptor, which can cross an exec.
func openPathOnly(path string) (*sys.FD, error) {
	return sys.AboveStandard(sys.IgnoringEINTR(func() (int, error) {
		return unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	}))
}

// Of getauxval(3), which Linux has had since 2.6.
const (
	atExecFn = 31 // the path that execve was called with
	atSecure = 23 // not 0: the caller of execve had fewer rights than this image
)

// launchPath returns the path that this image was executed by. The kernel's own word
// for it, AT_EXECFN, holds for every way of starting a program: relative, by PATH
// look-up, through a symbolic link, with a made-up argv[0]. Only an exec through a
// descriptor or through /proc has no path of its own. Then the path is what the
// previous image says, unless another user may have started this one, or else where
// the link /proc/self/exe leads.
func launchPath(inherited *handover.State) string {
	path, secure := execFn()
	if path != "" && !strings.HasPrefix(path, "/dev/fd/") && !strings.HasPrefix(path, "/proc/") {
		if path = absolute(path); path != "" {
			return path
		}
	}
	if path = inherited.Texts[handover.Path]; path != "" && !secure {
		setProcessName(path)
		return path
	}
	path, err := os.Readlink(selfExe)
	if err != nil || strings.HasPrefix(path, "/memfd:") {
		return ""
	}
	return strings.TrimSuffix(path, " (deleted)")
}

// execFn returns what the auxiliary vector says: the path that execve was called with,
// and whether its caller had fewer rights than this image.
func execFn() (path string, secure bool) {
	auxv, _ := unix.Auxv()
	for _, entry := range auxv {
		switch entry[0] {
		case atExecFn:
			// The string lies above the stack, where the kernel put it for good.
			path = unix.BytePtrToString(*(**byte)(unsafe.Pointer(&entry[1])))
		case atSecure:
			secure = entry[1] != 0
		}
	}
	return path, secure
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

// launchID is what is at the path when the process starts. It is only used where
// /proc/self/exe can't be asked.
func launchID(path string, _ *handover.State) candidate.ID {
	id, _ := statID(sys.Stat(path))
	return id
}
