//go:build !autorestart_portable

package handover

import (
	"syscall"

	"github.com/autorestart-go/autorestart/internal/rawsys"
)

// A directoryChange changes to the working directory of the previous image, of which it is a
// descriptor.
//
// The directory belongs to all threads. So the change comes right before the exec, and is
// made only if it can be undone: by a descriptor of this directory, which may be one that
// can't be read, or by its path if there is no descriptor left. If neither leads back, as
// from a directory that this process may not search, or if the other one can't be entered,
// the previous image is executed in this directory: that is better than not at all.
type directoryChange int

func (dir directoryChange) do() (undo func(), err error) {
	goBack, end := rememberDirectory()
	if goBack == nil {
		return end, nil
	}
	if syscall.Fchdir(int(dir)) != nil {
		return end, nil
	}
	return func() {
		// It has worked a moment ago.
		rawsys.IgnoringEINTR(func() (int, error) { return 0, goBack() })
		end()
	}, nil
}

// rememberDirectory returns a function that changes to the directory of now, if one has been
// found that works, or nil. The caller calls end when it is done with it.
func rememberDirectory() (goBack func() error, end func()) {
	const pathOnly = 0x200000 // O_PATH
	here, err := rawsys.IgnoringEINTR(func() (int, error) { return syscall.Open(".", pathOnly|syscall.O_CLOEXEC, 0) })
	if err == nil {
		goBack, end = func() error { return syscall.Fchdir(here) }, func() { syscall.Close(here) }
		if goBack() == nil {
			return goBack, end
		}
		end()
	}
	end = func() {}
	path, err := syscall.Getwd()
	if err != nil || !sameFile(path, ".") {
		return nil, end
	}
	goBack = func() error { return syscall.Chdir(path) }
	if goBack() != nil {
		return nil, end
	}
	return goBack, end
}

func sameFile(path, other string) bool {
	var a, b syscall.Stat_t
	return syscall.Stat(path, &a) == nil && syscall.Stat(other, &b) == nil && a.Dev == b.Dev && a.Ino == b.Ino
}
