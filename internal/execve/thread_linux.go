//go:build !autorestart_portable

package execve

import (
	"errors"
	"sync"
	"syscall"
	"unsafe"

	"github.com/autorestart-go/autorestart/internal/rawsys"
)

// ErrNoThread says that no thread was found that may execute.
var ErrNoThread = errors.New("no thread is like the main one")

// A threadDifference is what this thread has and the next image must not get, or rather not
// if it is tolerable.
type threadDifference struct {
	what      string
	tolerable bool
}

func (d *threadDifference) Error() string { return ErrNoThread.Error() + ": " + d.what }

func (d *threadDifference) Unwrap() error { return ErrNoThread }

// namespaces are the links in /proc/PID/ns to those that threads of one process may have of
// their own.
var namespaces = [...]string{"mnt", "net", "uts", "ipc", "cgroup", "pid_for_children", "time_for_children"}

const mounts = 0 // the index of "mnt"

// leader is what is known of the main thread. What /proc does not tell is empty.
var leader struct {
	mu         sync.Mutex
	known      bool
	namespaces [len(namespaces)]string
	rights     string
}

// Where proc(5) has the main thread, and the calling one. Before Linux 3.17 the second is
// missing.
const (
	mainThread = "/proc/self/"
	thisThread = "/proc/thread-self/"
)

// RememberLeader remembers the namespaces and the rights of the main thread, if nothing is
// remembered yet, or if the caller is on the main thread: then it is the program itself that
// has made the thread what it is.
func RememberLeader() { remember(onMainThread()) }

func remember(again bool) {
	leader.mu.Lock()
	defer leader.mu.Unlock()
	if leader.known && !again {
		return
	}
	leader.known = true
	if readLink(thisThread+"ns/mnt") == "" || readLink(mainThread+"ns/mnt") == "" {
		return // there is no /proc, or it is too old to tell, or the main thread has ended
	}
	for i, name := range namespaces {
		leader.namespaces[i] = readLink(mainThread + "ns/" + name)
	}
	leader.rights = readRights(mainThread)
}

func onMainThread() bool { return syscall.Gettid() == syscall.Getpid() }

// isLike reports whether this thread is like the main one, as far as that can be told.
func isLike() bool {
	return differentNamespace() == nil && differentRights() == nil && sharesDirectory() && hasAttributes()
}

// becomeLike makes this thread like the main one, as far as that is possible, and returns in
// what it still differs; nil if in nothing that can be told. The main thread itself is not kept
// from the program.
func becomeLike() (different *threadDifference, changed bool) {
	if onMainThread() {
		return &threadDifference{what: "it is the main one"}, false
	}
	if different = differentNamespace(); different != nil {
		if changed = enterNamespaces(); changed {
			different = differentNamespace()
		}
		if different != nil {
			return different, changed
		}
	}
	if different = differentRights(); different != nil {
		if giveUpRights() {
			different, changed = differentRights(), true
		}
		if different != nil {
			return different, changed
		}
	}
	changed = adoptAttributes() || changed
	if !sharesDirectory() || !hasAttributes() {
		different = &threadDifference{what: "it has a directory or attributes of its own", tolerable: true}
	}
	return different, changed
}

func differentNamespace() *threadDifference {
	for i, name := range namespaces {
		if want := leader.namespaces[i]; want != "" {
			if own := readLink(thisThread + "ns/" + name); own != want {
				return &threadDifference{what: "it is in " + own + ", and not in " + want}
			}
		}
	}
	return nil
}

// differentRights tells nothing if descriptors are short.
func differentRights() *threadDifference {
	own := readRights(thisThread)
	if own == "" || leader.rights == "" || own == leader.rights {
		return nil
	}
	if now := readRights(mainThread); now != "" && now != own {
		same := 0
		for same < min(len(own), len(now))-1 && own[same] == now[same] {
			same++
		}
		return &threadDifference{what: "it has " + lineAt(own, same) + ", and not " + lineAt(now, same)}
	}
	return nil
}

// lineAt returns the line of a text that the byte at i is in.
func lineAt(text string, i int) string {
	for i > 0 && text[i-1] != '\n' {
		i--
	}
	line, _, _ := rawsys.Cut(text[i:], '\n')
	return line
}

// sharesDirectory reports whether this thread shares working directory, root and umask with
// the main one, as far as the kernel tells.
func sharesDirectory() bool {
	const ofFileSystem = 3 // KCMP_FS
	differs, _, errno := syscall.RawSyscall6(rawsys.Numbers.Kcmp,
		uintptr(syscall.Getpid()), uintptr(syscall.Gettid()), ofFileSystem, 0, 0, 0)
	return errno != 0 || differs == 0
}

// enterNamespaces enters those namespaces of the main thread that were remembered. It takes
// CAP_SYS_ADMIN.
func enterNamespaces() (changed bool) {
	// All are opened first: other mounts may have another /proc.
	var opened [len(namespaces)]int
	for i, name := range namespaces {
		opened[i] = -1
		want := leader.namespaces[i]
		if readLink(thisThread+"ns/"+name) != want && readLink(mainThread+"ns/"+name) == want {
			opened[i] = open(mainThread + "ns/" + name)
		}
	}
	root, directory := open(mainThread+"root"), open(mainThread+"cwd")
	if opened[mounts] >= 0 {
		call(syscall.SYS_UNSHARE, syscall.CLONE_FS) // no other thread changes mounts with it
	}
	for _, fd := range opened {
		if fd >= 0 {
			changed = true
			call(rawsys.Numbers.Setns, uintptr(fd))
			syscall.Close(fd)
		}
	}
	if opened[mounts] >= 0 { // that has changed both directories
		here := [...]byte{'.', 0}
		call(syscall.SYS_FCHDIR, uintptr(root))
		syscall.RawSyscall(syscall.SYS_CHROOT, uintptr(unsafe.Pointer(&here)), 0, 0)
		call(syscall.SYS_FCHDIR, uintptr(directory))
	}
	syscall.Close(root)
	syscall.Close(directory)
	return changed
}

// call makes a system call that shows its error by what it has not changed.
func call(number, argument uintptr) { syscall.RawSyscall(number, argument, 0, 0) }

// open returns -1 if that fails.
func open(path string) (fd int) {
	fd, _ = rawsys.IgnoringEINTR(func() (int, error) { return syscall.Open(path, syscall.O_RDONLY|syscall.O_CLOEXEC, 0) })
	return fd
}

// readLink returns "" for a link that can't be read.
func readLink(path string) string {
	var b [64]byte // "time_for_children:[4026531834]" is the longest
	n, _ := syscall.Readlink(path, b[:])
	return string(b[:max(0, n)])
}

// rightsKeys are the beginnings of those lines in /proc/PID/status that an exec takes from the
// thread.
var rightsKeys = [...]string{"Umask", "Uid", "Gid", "Groups", "Cap", "NoNewPrivs", "Seccomp"}

// readRights returns these lines; "" if they can't be read.
func readRights(thread string) string {
	fd := open(thread + "status")
	if fd < 0 {
		return ""
	}
	defer syscall.Close(fd)
	b := make([]byte, 16<<10)
	n, _ := syscall.Read(fd, b) // all at once
	var rights []byte
	for rest := string(b[:max(0, n)]); rest != ""; {
		var line string
		line, rest, _ = rawsys.Cut(rest, '\n')
		for _, key := range rightsKeys {
			if len(line) > len(key) && line[:len(key)] == key {
				rights = append(append(rights, line...), '\n')
			}
		}
	}
	return string(rights)
}
