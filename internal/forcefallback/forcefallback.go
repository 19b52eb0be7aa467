//go:build linux

// Package forcefallback makes the kernel an older or a poorer one for a thread, and
// for what that thread starts or executes, so that tests see what the library does
// without some system call or file. An error says why that can't be done here.
//
// The caller locks the goroutine to its thread, and never unlocks it.
package forcefallback

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Denial is a system call that a seccomp filter answers with an errno: always, or
// if the low half of one argument has a value.
type Denial struct {
	Call  uint32
	Arg   int // the index of the argument, -1 for always
	Value uint32
	Errno unix.Errno
}

// BPF instructions.
const (
	load   = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
	equal  = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
	answer = unix.BPF_RET | unix.BPF_K
)

func statement(code uint16, k uint32) unix.SockFilter { return unix.SockFilter{Code: code, K: k} }

// Deny installs a seccomp filter.
func Deny(denials ...Denial) error { return install(0, filterOf(denials)) }

// DenyAll installs a seccomp filter for all threads of this process. The caller may unlock its
// thread afterwards.
func DenyAll(denials ...Denial) error {
	return install(unix.SECCOMP_FILTER_FLAG_TSYNC, filterOf(denials))
}

func filterOf(denials []Denial) []unix.SockFilter {
	low := uint32(0) // where the low half of an argument of 64 bits is
	if one := uint16(1); *(*byte)(unsafe.Pointer(&one)) == 0 {
		low = 4
	}
	var program []unix.SockFilter
	for _, d := range denials {
		program = append(program, statement(load, 0))
		if d.Arg < 0 {
			program = append(program,
				unix.SockFilter{Code: equal, K: d.Call, Jf: 1},
				statement(answer, unix.SECCOMP_RET_ERRNO|uint32(d.Errno)))
			continue
		}
		program = append(program,
			unix.SockFilter{Code: equal, K: d.Call, Jf: 3},
			statement(load, 16+8*uint32(d.Arg)+low),
			unix.SockFilter{Code: equal, K: d.Value, Jf: 1},
			statement(answer, unix.SECCOMP_RET_ERRNO|uint32(d.Errno)))
	}
	return append(program, statement(answer, unix.SECCOMP_RET_ALLOW))
}

// Allow installs a seccomp filter that answers all system calls but these in the given way, one of
// unix.SECCOMP_RET_*.
func Allow(otherwise uint32, calls ...uint32) error {
	program := []unix.SockFilter{statement(load, 0)}
	for _, call := range calls {
		program = append(program,
			unix.SockFilter{Code: equal, K: call, Jf: 1},
			statement(answer, unix.SECCOMP_RET_ALLOW))
	}
	return install(0, append(program, statement(answer, otherwise)))
}

func install(flags uintptr, program []unix.SockFilter) error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no_new_privs: %w", err)
	}
	filter := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	thread, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&filter)))
	switch {
	case errno != 0:
		return fmt.Errorf("seccomp: %w", errno)
	case thread != 0:
		return fmt.Errorf("seccomp: thread %d has another filter", thread)
	}
	return nil
}

// NoPidfds denies every system call about pidfds.
func NoPidfds(errno unix.Errno) error {
	return Deny(
		Denial{Call: unix.SYS_WAITID, Arg: 0, Value: unix.P_PIDFD, Errno: errno},
		Denial{Call: unix.SYS_PIDFD_OPEN, Arg: -1, Errno: errno},
		Denial{Call: unix.SYS_PIDFD_SEND_SIGNAL, Arg: -1, Errno: errno},
	)
}

// NoProc hides /proc.
func NoProc() error {
	if err := PrivateMounts(); err != nil {
		return err
	}
	return Hide("/proc")
}

// PrivateMounts gives the calling thread mounts of its own.
func PrivateMounts() error {
	if os.Geteuid() != 0 {
		return errors.New("needs root for a mount namespace")
	}
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making the mounts private: %w", err)
	}
	return nil
}

// Hide mounts an empty file system over a directory. The thread needs
// [PrivateMounts], or it hides the directory from every process.
func Hide(path string) error {
	if err := unix.Mount("none", path, "tmpfs", 0, ""); err != nil {
		return fmt.Errorf("mounting over %s: %w", path, err)
	}
	return nil
}

// OwnUserNamespace makes a process that is about to be started root of a user
// namespace of its own, which has limits of its own.
func OwnUserNamespace(attr *syscall.SysProcAttr) {
	attr.Cloneflags |= unix.CLONE_NEWUSER
	attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
	attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
}

// UserNamespaces returns an error where there are no user namespaces.
func UserNamespaces() error {
	cmd := exec.Command("/bin/true")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER}
	return cmd.Run()
}
