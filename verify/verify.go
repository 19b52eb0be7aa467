// Package verify contains functions for the field Verify of [autorestart.Restarter], which
// check a new version before it replaces the running one. [Run] tries it in a child
// process, and [Signature] checks its signature. The package is separate because it imports
// more than package autorestart.
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
// The program is executed from the file that was opened, where the system can do that;
// elsewhere by its path. It has the environment of this process, an empty standard input
// and a process group of its own. The error contains the last 4 KiB of what the program
// wrote to standard output and standard error.
//
// When the timeout has passed or ctx ends, Run kills the program. When the program exits or
// is killed, Run kills what it has started, and returns when that has ended, or after a
// second if it waits for a device. Run uses the first of these means that it can:
//
//   - A cgroup for the program, below the one of this process. That one must be of version
//     2, belong to the user of this process and be delegated: marked by systemd
//     (Delegate=yes), or, if the user is not root, below a cgroup of another user. It
//     needs Linux 5.14. A process survives only if it is moved to another cgroup, which
//     takes rights to that, or if another process has started it on request, as systemd
//     does.
//   - A PID namespace for the program. It needs CAP_SYS_ADMIN, which root has outside of
//     most containers, and Linux 4.12. No process can leave it. If this process is
//     killed, the kernel kills them all. The program has another PID than the one in
//     /proc, where it finds itself as /proc/self; the PID of its parent is 0. It can't
//     signal processes outside, so it takes the process of a PID file for one that is
//     gone. The first process of the namespace is the executable of this process again.
//     It stops at a package that is initialised before package os, and waits.
//   - The process group. A process that has left it by setpgid(2) or setsid(2) survives:
//     what daemonizes, and jobs of a shell with job control. If the process has the output
//     of the program, Run waits for the end of that for a second after the program. If
//     the program itself has taken the identity of another user, a process without
//     privileges can't kill it, and Run returns when it exits. Systems other than Linux
//     have these means alone.
//
// The status of the program decides, whatever the means are and whatever survives.
// Where there is no Unix, Run rejects each version with an error that wraps
// [errors.ErrUnsupported].
func Run(timeout time.Duration, args ...string) Func {
	return runWith(starters, timeout, args)
}
