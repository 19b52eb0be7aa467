package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"strconv"
	"time"

	"github.com/autorestart-go/autorestart/internal/statuspage"
)

// reload asks a daemon for a restart. It is the ExecReload= of units, see docs/systemd.md.
var reload = &command{
	name:    "reload",
	args:    "[-timeout DURATION] PID",
	summary: "restart a daemon, and wait for the outcome",
	help: `Reload asks the process to execute the file at its path now, also if that is not a new
version. It waits until the new version is ready. If the new version stays on trial after
that, Reload waits until the trial has ended, too.

If reload ends before the exec of the new version, the restart is called off.

  -timeout DURATION   how long to wait, as 90s or 5m; without a limit if 0, which it is
                      by default

Exit status:
  0   the new version works: reload writes to standard output which version that is
  1   the new version was rejected or rolled back, the restart was called off, or the
      process has ended: reload writes the reason to standard error
  2   the process can't be asked, or the time is up`,
}

func init() { reload.run = runReload } // which refers to reload

func runReload(ctx context.Context, flags *flag.FlagSet, args []string, out output) (exit int) {
	timeout := flags.Duration("timeout", 0, "")
	if exit, ok := reload.parse(flags, args, 1, out); !ok {
		return exit
	}
	pid, err := strconv.Atoi(flags.Arg(0))
	switch {
	case err != nil || pid <= 0:
		reload.complain(out, fmt.Errorf("%q is no PID", flags.Arg(0)))
		return exitUnable
	case *timeout < 0:
		reload.complain(out, fmt.Errorf("the timeout %v is negative", *timeout))
		return exitUnable
	case *timeout > 0:
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, *timeout, &timeoutError{*timeout})
		defer cancel()
	}
	outcome, err := requestRestart(ctx, pid)
	if err != nil {
		reload.complain(out, explain(pid, err))
		if errors.Is(err, statuspage.ErrEnded) {
			return exitFailed
		}
		return exitUnable
	}
	if !outcome.Succeeded() {
		reload.complain(out, fmt.Errorf("process %d: %s: %s", pid, outcome.Kind, outcome.Reason))
		return exitFailed
	}
	version := outcome.Version
	if version == "" {
		version = "the new version"
	}
	fmt.Fprintf(out.stdout, "process %d: %s is %s (generation %d)\n", pid, version, outcome.Kind, outcome.Generation)
	return exitDone
}

func requestRestart(ctx context.Context, pid int) (statuspage.Outcome, error) {
	r, err := statuspage.Find(pid)
	if err != nil {
		return statuspage.Outcome{}, err
	}
	defer r.Close()
	return r.Request(ctx)
}

// A timeoutError says that the time of -timeout is up.
type timeoutError struct{ limit time.Duration }

func (e *timeoutError) Error() string { return "no outcome after " + e.limit.String() }

// inUnit is what helps where the sandbox of a unit is why the process can't be asked.
const inUnit = " (in ExecReload=, write + before the command)"

// explain returns an error that says what the user can do about one of package statuspage.
func explain(pid int, err error) error {
	advice := ""
	switch {
	case errors.Is(err, statuspage.ErrNoProcess):
		return fmt.Errorf("process %d: there is no such process in this PID namespace, or it is hidden from this user%s", pid, inUnit)
	case errors.Is(err, statuspage.ErrNoPage):
		advice = "; the program has to set Restarter in a Service of package systemd of autorestart, and this has to be its main process"
	case errors.Is(err, statuspage.ErrNotServed):
		advice = "; the program has to set Restarter in a Service of package systemd of autorestart"
	case errors.Is(err, statuspage.ErrFormat):
		advice = "; use the command of the release that the program contains"
	case errors.Is(err, statuspage.ErrGone):
		advice = "; it is not known whether that works"
	case errors.Is(err, fs.ErrPermission):
		advice = "; run this command as the user of the process, or as root if the process has more rights than its user" + inUnit
	case errors.Is(err, fs.ErrNotExist):
		advice = "; this command needs /proc" + inUnit
	case errors.Is(err, errors.ErrUnsupported):
		advice = "; status pages need Linux"
	}
	return fmt.Errorf("process %d: %w%s", pid, err, advice)
}
