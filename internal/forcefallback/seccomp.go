//go:build linux

package forcefallback

import (
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Denial is a system call that a seccomp filter answers with an errno: always, or
// if the low half of one argument has a value.
type Denial struct {
	Call  uint32
	Arg   int // the index of the argument, -1 for always
	Value uint32
	Flag  bool // if the argument has any bit of the value
	Errno unix.Errno
}

// Deny installs a seccomp filter.
func Deny(denials ...Denial) error { return install(0, filterOf(denials)) }

// DenyAll installs a seccomp filter for all threads of this process. The caller may unlock its
// thread afterwards.
func DenyAll(denials ...Denial) error {
	return install(unix.SECCOMP_FILTER_FLAG_TSYNC, filterOf(denials))
}

// Linux419 installs a seccomp filter that denies what came to Linux after 4.19: all system
// calls, with ENOSYS, and the flags that the library uses, with EINVAL. With words of 32 bits, Go's
// runtime chooses calls by the version of the kernel, and ends the process if they are denied.
func Linux419() error {
	if strconv.IntSize == 32 {
		return errors.New("the runtime of Go needs newer calls on this architecture")
	}
	const (
		memfdNoExecSeal = 8
		execveCheck     = 0x10000
		getAuxv         = 0x41555856
	)
	from := firstAfter419()
	return install(0, append([]unix.SockFilter{
		statement(load, 0),
		{Code: jump | unix.BPF_JGE, K: from, Jf: 2},
		{Code: jump | unix.BPF_JGT, K: from + 500, Jt: 1}, // ARM has some of its own up there
		deny(unix.ENOSYS),
	}, filterOf([]Denial{
		{Call: unix.SYS_WAITID, Arg: 0, Value: unix.P_PIDFD, Errno: unix.EINVAL},
		{Call: unix.SYS_MEMFD_CREATE, Arg: 1, Value: memfdNoExecSeal | unix.MFD_EXEC, Flag: true, Errno: unix.EINVAL},
		{Call: unix.SYS_EXECVEAT, Arg: 4, Value: execveCheck, Flag: true, Errno: unix.EINVAL},
		{Call: unix.SYS_PRCTL, Arg: 0, Value: getAuxv, Errno: unix.EINVAL},
	})...))
}

// firstAfter419 is the lowest number that all architectures have used only since 4.19. Their
// tables have been one since then, but for where it begins.
func firstAfter419() uint32 {
	const number = 403
	switch runtime.GOARCH {
	case "mips", "mipsle":
		return 4000 + number
	case "mips64", "mips64le":
		return 5000 + number
	}
	return number
}

// BPF instructions.
const (
	load  = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
	jump  = unix.BPF_JMP | unix.BPF_K
	equal = jump | unix.BPF_JEQ
	bits  = jump | unix.BPF_JSET
	reply = unix.BPF_RET | unix.BPF_K
)

func statement(code uint16, k uint32) unix.SockFilter { return unix.SockFilter{Code: code, K: k} }

func deny(errno unix.Errno) unix.SockFilter {
	return statement(reply, unix.SECCOMP_RET_ERRNO|uint32(errno))
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
			program = append(program, unix.SockFilter{Code: equal, K: d.Call, Jf: 1}, deny(d.Errno))
			continue
		}
		test := uint16(equal)
		if d.Flag {
			test = bits
		}
		program = append(program,
			unix.SockFilter{Code: equal, K: d.Call, Jf: 3},
			statement(load, 16+8*uint32(d.Arg)+low),
			unix.SockFilter{Code: test, K: d.Value, Jf: 1},
			deny(d.Errno))
	}
	return append(program, statement(reply, unix.SECCOMP_RET_ALLOW))
}

// Allow installs a seccomp filter that answers all system calls but these in the given way, one of
// unix.SECCOMP_RET_*.
func Allow(otherwise uint32, calls ...uint32) error {
	program := []unix.SockFilter{statement(load, 0)}
	for _, call := range calls {
		program = append(program,
			unix.SockFilter{Code: equal, K: call, Jf: 1},
			statement(reply, unix.SECCOMP_RET_ALLOW))
	}
	return install(0, append(program, statement(reply, otherwise)))
}

// Resources are the system calls of @resources in systemd.exec(5), but nice(2), setrlimit(2) and
// set_mempolicy_home_node(2): those are not on every architecture.
var Resources = []uint32{
	unix.SYS_IOPRIO_SET, unix.SYS_MBIND, unix.SYS_MIGRATE_PAGES, unix.SYS_MOVE_PAGES, unix.SYS_SCHED_SETAFFINITY,
	unix.SYS_SCHED_SETATTR, unix.SYS_SCHED_SETPARAM, unix.SYS_SCHED_SETSCHEDULER, unix.SYS_SET_MEMPOLICY, unix.SYS_SETPRIORITY,
}

// Kill installs a seccomp filter that ends the process at each of these calls.
func Kill(calls ...uint32) error { return install(0, killing(calls)) }

// KillAll installs the filter of Kill for all threads of this process. The caller may unlock its
// thread afterwards.
func KillAll(calls ...uint32) error { return install(unix.SECCOMP_FILTER_FLAG_TSYNC, killing(calls)) }

func killing(calls []uint32) []unix.SockFilter {
	program := []unix.SockFilter{statement(load, 0)}
	for _, call := range calls {
		program = append(program,
			unix.SockFilter{Code: equal, K: call, Jf: 1},
			statement(reply, unix.SECCOMP_RET_KILL_PROCESS))
	}
	return append(program, statement(reply, unix.SECCOMP_RET_ALLOW))
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
