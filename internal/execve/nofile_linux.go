//go:build !autorestart_portable

// RLIMIT_NOFILE over the exec.
//
// Package syscall raises the soft limit of each image when it is initialised, to one less than
// the hard limit. Children and the next image get the limit from before. But a limit that has
// been set since, by the program or by another process with prlimit(2), is in force for the
// next image and for its children.

package execve

import (
	"syscall"
	"unsafe"

	"github.com/autorestart-go/autorestart/internal/origin"
	"github.com/autorestart-go/autorestart/internal/rawsys"
)

// limitIsKept says that this image has its soft limit from the previous one: it is not the
// one that package syscall sets.
var limitIsKept bool

// raisedLimit is the one that package syscall sets; ok is false where it leaves the limit alone.
func raisedLimit() (limit origin.Limit, ok bool) {
	limit = origin.OpenFiles
	if limit.Hard == 0 || limit.Soft >= limit.Hard-1 || limitIsKept {
		return limit, false
	}
	limit.Soft = limit.Hard - 1
	return limit, true
}

// limitToKeep returns the soft limit that is in force, if it has been set, or 0.
func limitToKeep() int {
	limit, err := openFilesLimit(nil)
	raised, ok := raisedLimit()
	const most = 1 << 30 // as good as no limit
	if err == 0 && limit.Soft < limit.Hard-1 && limit.Soft <= most && !(ok && limit == raised) {
		return int(limit.Soft)
	}
	return 0
}

// keepLimit sets the soft limit that was in force in the previous image, unless it is 0.
func keepLimit(openFiles int) {
	soft := uint64(openFiles)
	limit, err := openFilesLimit(nil)
	if soft == 0 || err != 0 || soft >= limit.Soft {
		return
	}
	// Children get this one from now on.
	limitIsKept = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: soft, Max: limit.Hard}) == nil
}

// execute wraps execve(2), as [syscall.Exec] does, but leaves a limit alone that has been set. And
// if the exec fails, children get the same limit as before: Exec forgets what it was.
func execute(path string, args, env []string, last func()) error {
	pathp, err := syscall.BytePtrFromString(path)
	if err != nil {
		return err
	}
	argsp, err := syscall.SlicePtrFromStrings(args)
	if err != nil {
		return err
	}
	envp, err := syscall.SlicePtrFromStrings(env)
	if err != nil {
		return err
	}
	beforeExec()
	defer afterExec()
	// No descriptor may be needed from here on: more may be open than the limit allows.
	limit, unknown := openFilesLimit(nil)
	if raised, ok := raisedLimit(); ok && limit == raised {
		limit = origin.OpenFiles
		openFilesLimit(&limit)
		defer openFilesLimit(&raised)
	}
	if unknown == 0 && !hasRoom(limit.Soft) {
		return syscall.EMFILE
	}
	last()
	_, _, errno := syscall.RawSyscall(syscall.SYS_EXECVE, uintptr(unsafe.Pointer(pathp)),
		uintptr(unsafe.Pointer(&argsp[0])), uintptr(unsafe.Pointer(&envp[0])))
	return errno
}

// hasRoom reports whether the next image can open files with that soft limit. It would end if it
// could not: the loader opens libraries, and the runtime its poller.
func hasRoom(soft uint64) bool {
	const needed = 3
	room := 0
	for fd := 0; uint64(fd) < soft && room < needed; fd++ {
		if !rawsys.Crossed(fd) {
			room++
		}
	}
	return room == needed
}

// openFilesLimit returns the limit, and sets another one unless that is nil. With
// [syscall.Setrlimit], package syscall would forget which one children are to get.
func openFilesLimit(set *origin.Limit) (limit origin.Limit, err syscall.Errno) {
	_, _, err = syscall.RawSyscall6(syscall.SYS_PRLIMIT64, 0, syscall.RLIMIT_NOFILE,
		uintptr(unsafe.Pointer(set)), uintptr(unsafe.Pointer(&limit)), 0, 0)
	return limit, err
}

// beforeExec keeps the runtime from starting threads until afterExec: clone(2) fails during an
// exec. Package syscall has them from the runtime.
//
//go:linkname beforeExec syscall.runtime_BeforeExec
func beforeExec()

//go:linkname afterExec syscall.runtime_AfterExec
func afterExec()
