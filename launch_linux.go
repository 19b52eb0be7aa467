//go:build !autorestart_portable

package autorestart

import (
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

const selfExe = "/proc/self/exe"

// AT_EXECFN of getauxval(3): the path that execve was called with.
const atExecFn = 31

// launchPath returns the path that this image was executed by. The kernel's own
// word for it, AT_EXECFN, holds for every way of starting a program: relative,
// by PATH look-up, through a symbolic link, with a made-up argv[0]. Only an
// exec through a descriptor or through /proc has no path of its own; then the
// link /proc/self/exe tells which file it was.
func launchPath() string {
	if path := execFn(); path != "" && !strings.HasPrefix(path, "/dev/fd/") && !strings.HasPrefix(path, "/proc/") {
		if path = absolute(path); path != "" {
			return path
		}
	}
	path, err := os.Readlink(selfExe)
	if err != nil || strings.HasPrefix(path, "/memfd:") {
		return ""
	}
	return strings.TrimSuffix(path, " (deleted)")
}

func execFn() string {
	auxv, err := unix.Auxv()
	if err != nil {
		return ""
	}
	for _, entry := range auxv {
		if entry[0] == atExecFn {
			// The string lies above the stack, where the kernel put it for good.
			return unix.BytePtrToString(*(**byte)(unsafe.Pointer(&entry[1])))
		}
	}
	return ""
}

// openRunning opens the image that this process runs, whatever has become of
// its path.
func openRunning() (*os.File, error) {
	return os.Open(selfExe)
}

// runningKind is the kind of this process's own image; zero if it can't be told.
func runningKind() imageKind {
	f, err := openRunning()
	if err != nil {
		return imageKind{}
	}
	defer f.Close()
	return kindOf(f)
}
