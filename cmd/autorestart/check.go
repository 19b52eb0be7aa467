package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"github.com/autorestart-go/autorestart/internal/candidate"
	"github.com/autorestart-go/autorestart/internal/inspect"
)

// check says what becomes of a file that is deployed.
var check = &command{
	name:    "check",
	args:    "FILE PATH",
	summary: "say whether a file would be accepted in place of an executable",
	help: `Check looks for the processes that run the executable at PATH, and says for each of them
whether it would execute FILE if that was deployed at PATH now: with the mode, the owner
and the capabilities that the file at PATH has, as autorestart deploy gives them to a new
file. It judges as the process does: by the same code, with the user, the groups and the
capabilities of the process, in its root directory and its namespaces. If no process runs
PATH, check judges with the rights of the user who calls it, and says so. Nothing is
changed.

Check looks at the file, at PATH, and at the directories and links that lead there. It
can't tell whether this version has failed in a process before, and calls neither Verify
nor BeforeExec of the program. It takes for granted that TrustAnyOwner is not set.

The processes are those that run the file at PATH or one that was there. If there is none,
they are those that see the file that they run at this path, as in a container. Only root
can check for processes of other users.

Exit status:
  0   each process would accept FILE, or has the same content already
  1   a process would reject FILE: check says what it found, what it expects, and whether
      it looks at the file again
  2   it can't be told`,
}

func init() { check.run = runCheck } // which refers to check

// judgeFlag is the one argument with which check calls this program to judge with the rights of
// another process, see [inspect.Judge]. It is not for users.
const judgeFlag = "-judge"

func runCheck(ctx context.Context, flags *flag.FlagSet, args []string, out output) (exit int) {
	if len(args) == 1 && args[0] == judgeFlag {
		if err := inspect.Judge(); err != nil {
			check.complain(out, err)
			return exitUnable
		}
		return exitDone
	}
	if exit, ok := check.parse(flags, args, 2, out); !ok {
		return exit
	}
	file, path := flags.Arg(0), flags.Arg(1)
	reports, err := inspect.Check(ctx, file, path, check.name, judgeFlag)
	if err != nil {
		if errors.Is(err, errors.ErrUnsupported) {
			err = errors.New("other processes can be looked at only on Linux")
		}
		check.complain(out, err)
		return exitUnable
	}
	return writeReports(reports, file, path, out)
}

// writeReports writes the reports. A rejection counts more than a process of which nothing is known.
func writeReports(reports []inspect.Report, file, path string, out output) (exit int) {
	for _, r := range reports {
		if r.Err != nil {
			text := r.Err.Error()
			if len(r.PIDs) > 0 {
				text = subject(r, path) + ": " + text
			}
			check.complain(out, errors.New(printable(text)))
			if exit == exitDone {
				exit = exitUnable
			}
			continue
		}
		fmt.Fprintln(out.stdout, printable(subject(r, path)+": "+verdict(r.Verdict, file)))
		if r.Rejection != nil {
			exit = exitFailed
		}
	}
	return exit
}

// subject names the processes of a report.
func subject(r inspect.Report, path string) string {
	texts := make([]string, len(r.PIDs))
	for i, pid := range r.PIDs {
		texts[i] = strconv.Itoa(pid)
	}
	switch len(texts) {
	case 0:
		return "no process runs " + path + "; with the rights of this user"
	case 1:
		return "process " + texts[0]
	default:
		return "processes " + strings.Join(texts, ", ")
	}
}

func verdict(v inspect.Verdict, file string) string {
	switch {
	case v.Same:
		return "accepted: " + file + " has the same content as the running version: nothing would happen"
	case v.Rejection == nil:
		return "accepted: " + file + " would be executed, unless Verify of the program rejects it or this version has failed there before"
	default:
		return "rejected: found " + v.Rejection.Found + ", expected " + v.Rejection.Expected + " (" + lasting(v.Rejection) + ")"
	}
}

// lasting says when the file is looked at again.
func lasting(r *candidate.Rejection) string {
	switch {
	case r.Retryable:
		return "retryable: the file is looked at again soon"
	case r.Outside:
		return "looked at again every 15 seconds"
	default:
		return "not retryable: the file is left alone until it changes"
	}
}

// printable returns a text that a terminal can show: the file chooses a part of it, and an escape
// sequence would be executed there.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
}
