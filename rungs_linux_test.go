//go:build !autorestart_portable

package autorestart

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/candidate"
)

// rungs are the ways to make the kernel an older or a poorer one. Each is called
// in the first image of a scenario, on the thread that will execute the second;
// what it does is inherited by everything that thread starts. An error says why
// it can't be done here.
var rungs = map[string]func() error{
	"all": func() error { return nil },
	// Linux 5.3: pidfds, but no waitid on them, and no flags
	"linux5.3": func() error {
		return seccompFilter(
			denial{nr: unix.SYS_WAITID, arg: 0, value: unix.P_PIDFD, errno: unix.EINVAL},
			denial{nr: unix.SYS_PIDFD_OPEN, arg: 1, value: unix.PIDFD_NONBLOCK, errno: unix.EINVAL},
		)
	},
	// before 5.1, or a filter that knows no new calls
	"no-pidfd-ENOSYS": func() error { return noPidfds(unix.ENOSYS) },
	// container runtimes' filters in their time
	"no-pidfd-EPERM": func() error { return noPidfds(unix.EPERM) },
	"no-children-file": func() error {
		if err := privateMounts(); err != nil {
			return err
		}
		return hide("/proc/" + strconv.Itoa(os.Getpid()) + "/task")
	},
	"no-proc": noProc,
	"no-proc-no-pidfd": func() error {
		if err := noProc(); err != nil {
			return err
		}
		return noPidfds(unix.ENOSYS)
	},
	// another PID namespace's /proc, as after a forgotten mount
	"foreign-proc": foreignProc,
	// a descriptor table that has no room for pidfds
	"few-descriptors": func() error {
		limit := unix.Rlimit{Cur: 24, Max: 24}
		return unix.Setrlimit(unix.RLIMIT_NOFILE, &limit)
	},
}

func noPidfds(errno unix.Errno) error {
	return seccompFilter(
		denial{nr: unix.SYS_WAITID, arg: 0, value: unix.P_PIDFD, errno: errno},
		denial{nr: unix.SYS_PIDFD_OPEN, arg: -1, errno: errno},
		denial{nr: unix.SYS_PIDFD_SEND_SIGNAL, arg: -1, errno: errno},
	)
}

func noProc() error {
	if err := privateMounts(); err != nil {
		return err
	}
	return hide("/proc")
}

// privateMounts gives the calling thread mounts of its own.
func privateMounts() error {
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

func hide(path string) error {
	if err := unix.Mount("none", path, "tmpfs", 0, ""); err != nil {
		return fmt.Errorf("mounting over %s: %w", path, err)
	}
	return nil
}

// A denial is a system call that a seccomp filter answers with an errno: always,
// or if the low half of one argument has the value.
type denial struct {
	nr    uint32
	arg   int // -1 for always
	value uint32
	errno unix.Errno
}

// seccompFilter installs a filter for the calling thread and what it starts.
func seccompFilter(denials ...denial) error {
	stmt := func(code uint16, k uint32) unix.SockFilter { return unix.SockFilter{Code: code, K: k} }
	const (
		load   = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		equal  = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		answer = unix.BPF_RET | unix.BPF_K
	)
	low := uint32(0) // where the low half of an argument of 64 bits is
	if one := uint16(1); *(*byte)(unsafe.Pointer(&one)) == 0 {
		low = 4
	}
	var prog []unix.SockFilter
	for _, d := range denials {
		prog = append(prog, stmt(load, 0))
		if d.arg < 0 {
			prog = append(prog,
				unix.SockFilter{Code: equal, K: d.nr, Jf: 1},
				stmt(answer, unix.SECCOMP_RET_ERRNO|uint32(d.errno)))
			continue
		}
		prog = append(prog,
			unix.SockFilter{Code: equal, K: d.nr, Jf: 3},
			stmt(load, 16+8*uint32(d.arg)+low),
			unix.SockFilter{Code: equal, K: d.value, Jf: 1},
			stmt(answer, unix.SECCOMP_RET_ERRNO|uint32(d.errno)))
	}
	prog = append(prog, stmt(answer, unix.SECCOMP_RET_ALLOW))
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no_new_privs: %w", err)
	}
	fprog := unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]}
	if err := unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&fprog)), 0, 0); err != nil {
		return fmt.Errorf("seccomp: %w", err)
	}
	return nil
}

// foreignProc goes on in a new PID namespace, whose processes the mounted /proc
// shows under the numbers that they have outside.
func foreignProc() error { return newPIDNamespace(0) }

// newPIDNamespace goes on as process 1 of a new PID namespace.
func newPIDNamespace(flags uintptr) error {
	if os.Geteuid() != 0 {
		return errors.New("needs root for a PID namespace")
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), rungEnv+"=")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID | flags}
	if err := cmd.Start(); err != nil {
		return err
	}
	cmd.Wait()
	os.Exit(cmd.ProcessState.ExitCode())
	return nil
}

// canPeek tells whether peekChild can tell a zombie from the living.
const canPeek = true

// seesProcesses tells whether there is anything to be known of processes.
func seesProcesses() bool { return procIsOurs() }

func uintptrOf(p *int32) uintptr { return uintptr(unsafe.Pointer(p)) }

// TestNoWayBackWithoutProc: that is found out before everything is brought to rest
// for it.
func TestNoWayBackWithoutProc(t *testing.T) {
	skipped := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlock it: the thread is of no more use
		err := privateMounts()
		if err == nil {
			err = hide("/proc")
		}
		if err == nil {
			if err := returnable(&candidate.Candidate{Path: "/app"}); !errors.Is(err, errors.ErrUnsupported) || isRetryable(err) {
				t.Errorf("without /proc: %v", err)
			}
		}
		skipped <- err
	}()
	if err := <-skipped; err != nil {
		t.Skip(err)
	}
	if err := returnable(&candidate.Candidate{Path: "/app"}); err != nil {
		t.Errorf("with /proc: %v", err)
	}
}
