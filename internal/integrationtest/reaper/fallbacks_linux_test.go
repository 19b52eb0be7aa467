//go:build linux && !autorestart_portable

package reaper_test

import (
	"errors"
	"os"
	"os/exec"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/forcefallback"
)

// fallbacks are the ways to make the kernel an older or a poorer one. Each is called
// in the first image of a scenario, on the thread that will execute the second;
// what it does is inherited by everything that thread starts. An error says why
// it can't be done here.
var fallbacks = map[string]func() error{
	"none": func() error { return nil },
	// Linux 5.3: pidfds, but no waitid on them, and no flags
	"linux5.3": func() error {
		return forcefallback.Deny(
			forcefallback.Denial{Call: unix.SYS_WAITID, Arg: 0, Value: unix.P_PIDFD, Errno: unix.EINVAL},
			forcefallback.Denial{Call: unix.SYS_PIDFD_OPEN, Arg: 1, Value: unix.PIDFD_NONBLOCK, Errno: unix.EINVAL},
		)
	},
	// before 5.1, or a filter that knows no new calls
	"no-pidfd-ENOSYS": func() error { return forcefallback.NoPidfds(unix.ENOSYS) },
	// container runtimes' filters in their time
	"no-pidfd-EPERM": func() error { return forcefallback.NoPidfds(unix.EPERM) },
	"no-children-file": func() error {
		if err := forcefallback.PrivateMounts(); err != nil {
			return err
		}
		return forcefallback.Hide("/proc/" + strconv.Itoa(os.Getpid()) + "/task")
	},
	"no-proc": forcefallback.NoProc,
	"no-proc-no-pidfd": func() error {
		if err := forcefallback.NoProc(); err != nil {
			return err
		}
		return forcefallback.NoPidfds(unix.ENOSYS)
	},
	// another PID namespace's /proc, as after a forgotten mount
	"foreign-proc": foreignProc,
	// a descriptor table that has no room for pidfds
	fewDescriptors: func() error {
		limit := unix.Rlimit{Cur: 24, Max: 24}
		return unix.Setrlimit(unix.RLIMIT_NOFILE, &limit)
	},
}

const fewDescriptors = "few-descriptors"

// withAndWithoutPidfds are the fallbacks for tests of single mishaps.
var withAndWithoutPidfds = []string{"none", "no-pidfd-ENOSYS"}

// foreignProc goes on in a new PID namespace, whose processes the mounted /proc
// shows under the numbers that they have outside.
func foreignProc() error { return newPIDNamespace(0) }

// newPIDNamespace goes on as process 1 of a new PID namespace.
func newPIDNamespace(flags uintptr) error {
	if os.Geteuid() != 0 {
		return errors.New("needs root for a PID namespace")
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), fallbackEnv+"=")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID | flags}
	if err := cmd.Start(); err != nil {
		return err
	}
	cmd.Wait()
	os.Exit(cmd.ProcessState.ExitCode())
	return nil
}

// seesZombies tells whether the library can tell a zombie from the living.
const seesZombies = true

// seesProcesses tells whether the library knows anything of processes.
func seesProcesses() bool { return seesOwnProcesses() }
