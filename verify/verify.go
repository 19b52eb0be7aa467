// Package verify contains functions for the field Verify of [autorestart.Restarter]. They
// check a new version before it replaces the running one. [Run] tries the version in a
// child process. [Signature] checks its signature. The package is separate because it
// imports more than package autorestart.
//
// Importing the package changes nothing in a program that is started in the usual way.
// Process 1 of a PID namespace never reaches main if the variable
// AUTORESTART_FIRST_PROCESS is in its environment: [Run] has started such a process.
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

// Run returns a Func that runs the new version with the given arguments, for example "app
// -check-config". The Func accepts the version if the program exits with status 0 within
// the timeout. The old version keeps running at the same time, so with these arguments
// the program should not listen, watch or change anything.
//
// The program is executed from the file that was opened, or by its path where the system
// can't do that. It has the environment of this process, an empty standard input and a
// process group of its own. The error of the Func contains the last 4 KiB of what the
// program wrote to standard output and standard error.
//
// When the timeout has passed or ctx ends, the program is killed. When the program has
// ended, the processes that it has started are killed. The Func returns when they have
// ended. It waits a second at most, as for a process that waits for a device.
//
// The Func finds these processes by the first of these means that is available:
//
//   - A cgroup for the program, below the cgroup of this process. The cgroup of this
//     process must be of version 2, belong to the user of this process, and be delegated.
//     It is delegated if systemd has marked it (Delegate=yes) or, for a user other than
//     root, if it is below a cgroup of another user. A cgroup needs Linux 5.14. A process
//     survives only if it is moved to another cgroup, which takes rights to that cgroup,
//     or if another process has started it on request, as systemd does.
//   - A PID namespace for the program. It needs Linux 4.12 and CAP_SYS_ADMIN, which root
//     has outside of most containers. No process can leave the namespace. If this process
//     is killed, the kernel kills all processes of the namespace.
//   - The process group. A process that has left the group by setpgid(2) or setsid(2)
//     survives: a process that daemonizes, and a job of a shell with job control. A
//     program that has taken the identity of another user survives the timeout if this
//     process has no privileges; the Func then returns when the program exits. If a
//     surviving process has the output of the program, the output is read for a second
//     after the end of the program. Systems other than Linux have the process group
//     alone.
//
// A process that survives does not change the outcome: the status of the program decides.
//
// A program in a PID namespace has one PID in the namespace and another one in /proc,
// where /proc/self leads to it. The PID of its parent is 0. It can't signal processes
// outside, so a PID file seems to name a process that is gone. The first process of the
// namespace is the executable of this process again. It stops at a package that is
// initialised before package os, and waits.
//
// On systems that are not Unix, the Func rejects each version with an error that wraps
// [errors.ErrUnsupported].
func Run(timeout time.Duration, args ...string) Func {
	return runWith(starters, timeout, args)
}
