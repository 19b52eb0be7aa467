//go:build !autorestart_portable

package reaper_test

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/forcefallback"
)

// Docker's default seccomp profile answers other calls than those of its list with EPERM, and
// systemd's SystemCallFilter=@system-service ends the process. The calls below are in both lists. They
// are all that the reaper, Go's runtime and package os/exec make, with and without the race detector:
// another call ends the scenario by SIGSYS. Look both lists up before you add one.
//
// The profile of Docker before 20.10 lacks pidfd_open and pidfd_send_signal: that is the fallback
// no-pidfd-EPERM.
var inProfiles = []uint32{
	// children
	unix.SYS_CLONE, unix.SYS_CLONE3, unix.SYS_EXECVE, unix.SYS_WAIT4, unix.SYS_WAITID, unix.SYS_PIDFD_OPEN, unix.SYS_PIDFD_SEND_SIGNAL,
	unix.SYS_KILL, unix.SYS_PRCTL, unix.SYS_GETSID, unix.SYS_SETSID, unix.SYS_SETPGID, unix.SYS_VFORK,
	unix.SYS_EPOLL_CREATE1, unix.SYS_EPOLL_CTL, unix.SYS_EPOLL_PWAIT, unix.SYS_EVENTFD2, unix.SYS_PIPE2,
	// files
	unix.SYS_OPENAT, unix.SYS_CLOSE, unix.SYS_READ, unix.SYS_WRITE, unix.SYS_PREAD64, unix.SYS_FSTAT, unix.SYS_NEWFSTATAT,
	unix.SYS_READLINKAT, unix.SYS_READLINK, unix.SYS_GETDENTS64, unix.SYS_FCNTL, unix.SYS_DUP2, unix.SYS_DUP3, unix.SYS_ACCESS,
	unix.SYS_FACCESSAT2, unix.SYS_LSEEK, unix.SYS_IOCTL,
	// memory, threads and signals
	unix.SYS_MMAP, unix.SYS_MPROTECT, unix.SYS_MUNMAP, unix.SYS_MREMAP, unix.SYS_MADVISE, unix.SYS_BRK, unix.SYS_ARCH_PRCTL,
	unix.SYS_FUTEX, unix.SYS_NANOSLEEP, unix.SYS_CLOCK_NANOSLEEP, unix.SYS_CLOCK_GETTIME, unix.SYS_GETTIMEOFDAY,
	unix.SYS_SCHED_YIELD, unix.SYS_SCHED_GETAFFINITY, unix.SYS_SET_ROBUST_LIST, unix.SYS_SET_TID_ADDRESS, unix.SYS_RSEQ,
	unix.SYS_RT_SIGACTION, unix.SYS_RT_SIGPROCMASK, unix.SYS_RT_SIGRETURN, unix.SYS_SIGALTSTACK, unix.SYS_TGKILL,
	unix.SYS_RESTART_SYSCALL, unix.SYS_EXIT, unix.SYS_EXIT_GROUP, unix.SYS_GETRANDOM,
	// about this process
	unix.SYS_GETPID, unix.SYS_GETPPID, unix.SYS_GETTID, unix.SYS_GETUID, unix.SYS_GETEUID, unix.SYS_GETGID, unix.SYS_GETEGID,
	unix.SYS_GETRLIMIT, unix.SYS_SETRLIMIT, unix.SYS_PRLIMIT64, unix.SYS_GETRUSAGE, unix.SYS_UNAME, unix.SYS_SYSINFO,
}

const seccompProfiles = "seccomp-profiles"

func init() {
	namedFallbacks[seccompProfiles] = func() error {
		// as Docker does, whose filter could not see the flags
		err := forcefallback.Deny(forcefallback.Denial{Call: unix.SYS_CLONE3, Arg: -1, Errno: unix.ENOSYS})
		if err != nil {
			return err
		}
		return forcefallback.Allow(unix.SECCOMP_RET_KILL_PROCESS, inProfiles...)
	}
}

func TestSeccompProfiles(t *testing.T) {
	for _, name := range []string{"reap everything", "clean up", "stopped", "adopt", "lost", "orphans", "orphans and exec"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			runScenarioOn(t, name, seccompProfiles)
		})
	}
}
