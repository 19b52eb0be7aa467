// Package verify contains functions for the field Verify of [autorestart.Restarter],
// which check a new version before it replaces the running one. [Run] tries the version
// in a child process. [Signature] checks its signature. The package is separate because
// it imports more than package autorestart.
//
// Importing the package changes nothing, except in process 1 of a PID namespace with the
// variable AUTORESTART_FIRST_PROCESS in its environment: [Run] has started that process, and
// it never reaches main.
package verify

import (
	"context"
	"os"
	"time"
)

// A Func is a value for the field Verify. It returns nil to accept the version that is
// open in exe, and an error to reject it. It must read exe by ReadAt, so that several
// functions can read the same file.
type Func = func(ctx context.Context, exe *os.File) error

// All returns a Func that accepts a version if each of the functions accepts it. It calls
// them in turn, and returns the first error.
func All(funcs ...Func) Func {
	return func(ctx context.Context, exe *os.File) error {
		for _, f := range funcs {
			if err := f(ctx, exe); err != nil {
				return err
			}
		}
		return nil
	}
}

// Run returns a Func that runs the new version with the given arguments, for example
// "app -check-config". It accepts the version if the program exits with status 0 within
// the timeout. The old version keeps running at the same time, so with these arguments the
// program should not listen, watch or change anything.
//
// The program is executed from the file that was opened. Where the system can't do that,
// the program is executed by its path. It has the environment of this process, an empty
// standard input and a process group of its own. The error contains the last 4 KiB of
// what the program wrote to standard output and standard error.
//
// When the timeout has passed or ctx ends, Run kills the program. When the program has
// ended, Run kills the processes that it has started, and returns when they have ended;
// it waits a second at most, as for a process that waits for a device. Run uses the first
// of these means that is available:
//
//   - A cgroup for the program, below the cgroup of this process. The cgroup of this
//     process must be of version 2, belong to the user of this process, and be delegated.
//     It is delegated if systemd has marked it (Delegate=yes) or, for a user other than
//     root, if it is below a cgroup of another user. A cgroup needs Linux 5.14. A process
//     survives only if it is moved to another cgroup, which takes rights to that cgroup,
//     or if another process has started it on request, as systemd does.
//   - A PID namespace for the program. It needs Linux 4.12 and CAP_SYS_ADMIN, which root
//     has outside of most containers. No process can leave it. If this process is killed,
//     the kernel kills all processes of the namespace. The program has one PID in the
//     namespace and another one in /proc, where /proc/self leads to it. The PID of its
//     parent is 0. It can't signal processes outside, so a PID file seems to name a
//     process that is gone. The first process of the namespace is the executable of this
//     process again. It stops at a package that is initialised before package os, and
//     waits.
//   - The process group. A process that has left the group by setpgid(2) or setsid(2)
//     survives: a process that daemonizes, and a job of a shell with job control. If such
//     a process has the output of the program, Run reads the output for a second after
//     the end of the program. If the program has taken the identity of another user, a
//     process without privileges can't kill it, and Run returns when the program exits.
//     Systems other than Linux have the process group alone.
//
// The status of the program decides, whatever survives. On systems that are not Unix, Run
// rejects each version with an error that wraps [errors.ErrUnsupported].
func Run(timeout time.Duration, args ...string) Func {
	return runWith(starters, timeout, args)
}
