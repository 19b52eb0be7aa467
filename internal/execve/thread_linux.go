//go:build !autorestart_portable

package execve

import (
	"sync"
	"syscall"
	"unsafe"

	"github.com/autorestart-go/autorestart/internal/rawsys"
)

// A threadDifference is what this thread has and the next image must not get, or rather not
// if it is tolerable.
type threadDifference struct {
	what      string
	tolerable bool
}

func (d *threadDifference) Error() string { return ErrNoThread.Error() + ": " + d.what }

func (d *threadDifference) Unwrap() error { return ErrNoThread }

func unreadable(namespace string, err error) *threadDifference {
	return &threadDifference{what: "its " + namespace + " namespace can't be read: " + err.Error()}
}

// namespaces are the links in /proc/PID/ns to those that threads of one process may have of
// their own.
var namespaces = [...]string{"mnt", "net", "uts", "ipc", "cgroup", "pid_for_children", "time_for_children"}

const mounts = 0 // the index of "mnt"

// A standing is what a thread has of its own. What /proc does not tell is empty.
type standing struct {
	namespaces [len(namespaces)]string
	rights     string
}

// leader is what is known of the main thread.
var leader struct {
	mu    sync.Mutex
	known bool
	standing
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

// remember returns what is remembered. It remembers nothing while memory is short.
func remember(again bool) (main standing, unknown *threadDifference) {
	leader.mu.Lock()
	defer leader.mu.Unlock()
	if leader.known && !again {
		return leader.standing, nil
	}
	for _, thread := range [...]string{thisThread, mainThread} {
		switch _, err := readLink(thread + "ns/mnt"); err {
		case nil:
		case syscall.ENOMEM:
			return leader.standing, unreadable("mnt", err)
		default: // there is no /proc, or it is too old to tell, or the main thread has ended
			leader.known = true
			return leader.standing, nil
		}
	}
	for i, name := range namespaces {
		link, err := readLink(mainThread + "ns/" + name)
		if err == syscall.ENOMEM {
			return leader.standing, unreadable(name, err)
		}
		main.namespaces[i] = link
	}
	main.rights = readRights(mainThread)
	leader.known, leader.standing = true, main
	return main, nil
}

func onMainThread() bool { return syscall.Gettid() == syscall.Getpid() }

// isLike reports whether this thread is like the main one, of which main is known, as far as that
// can be told.
func isLike(main standing) bool {
	return main.differentNamespace() == nil && main.differentRights() == nil && sharesDirectory() && hasAttributes()
}

// becomeLike makes this thread like the main one, of which main is known, as far as that is
// possible, and returns in what it still differs; nil if in nothing that can be told. The main
// thread itself is not kept from the program.
func becomeLike(main standing) (different *threadDifference, changed bool) {
	if onMainThread() {
		return &threadDifference{what: "it is the main one"}, false
	}
	if different = main.differentNamespace(); different != nil {
		if changed = main.enterNamespaces(); changed {
			different = main.differentNamespace()
		}
		if different != nil {
			return different, changed
		}
	}
	if different = main.differentRights(); different != nil {
		if main.giveUpRights() {
			different, changed = main.differentRights(), true
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

func (main *standing) differentNamespace() *threadDifference {
	for i, name := range namespaces {
		if want := main.namespaces[i]; want != "" {
			own, err := readLink(thisThread + "ns/" + name)
			if err != nil {
				return unreadable(name, err)
			}
			if own != want {
				return &threadDifference{what: "it is in " + own + ", and not in " + want}
			}
		}
	}
	return nil
}

// differentRights tells nothing if descriptors are short.
func (main *standing) differentRights() *threadDifference {
	own := readRights(thisThread)
	if own == "" || main.rights == "" || own == main.rights {
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
func (main *standing) enterNamespaces() (changed bool) {
	// All are opened first: other mounts may have another /proc.
	var opened [len(namespaces)]int
	for i, name := range namespaces {
		opened[i] = -1
		want := main.namespaces[i]
		own, _ := readLink(thisThread + "ns/" + name)
		if now, err := readLink(mainThread + "ns/" + name); err == nil && own != want && now == want {
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
		if !isFatal(syscall.SYS_CHROOT) {
			syscall.RawSyscall(syscall.SYS_CHROOT, uintptr(unsafe.Pointer(&here)), 0, 0)
		}
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

// readLink wraps readlink(2). If memory is short, it tries again a few times.
func readLink(path string) (string, error) {
	for range 3 {
		var b [64]byte // "time_for_children:[4026531834]" is the longest
		n, err := syscall.Readlink(path, b[:])
		if err != syscall.ENOMEM {
			return string(b[:max(0, n)]), err
		}
	}
	return "", syscall.ENOMEM
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
