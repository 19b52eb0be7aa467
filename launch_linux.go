//go:build !autorestart_portable

package autorestart

import (
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/candidate"
	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/sys"
)

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
