// Autorestart controls daemons that contain package autorestart.
//
//	autorestart check FILE PATH
//	autorestart deploy [-timeout DURATION] [-json] NEW PATH
//	autorestart deploy [-timeout DURATION] [-json] -rollback PATH
//	autorestart ps [-json]
//	autorestart reload [-timeout DURATION] PID
//	autorestart help [COMMAND]
//
// The command and the daemon need no file and no port in common: the daemon keeps a status page in
// memory, which the command opens by /proc/PID/fd. The kernel permits that to root, and to the user
// of the daemon if the daemon has no more rights than that user. The PID is that in the PID
// namespace of the command, so it may be that of a daemon in a container.
//
// Exit status: 0 if the daemon did what it was asked for, 1 if it did not, and 2 if it could not be
// asked, or has not answered in time.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

// Exit statuses.
const (
	exitDone   = 0
	exitFailed = 1 // the daemon says why
	exitUnable = 2 // the daemon could not be asked, or the command line is wrong
)

// A command is a subcommand. Each is in a file of its own.
type command struct {
	name    string
	args    string // as the usage shows them
	summary string // one line
	help    string // the rest of the help

	// run does what the command is for. It registers its flags in flags, parses the arguments by
	// parse, and ends when ctx does.
	run func(ctx context.Context, flags *flag.FlagSet, args []string, out output) (exit int)
}

var commands = []*command{check, deploy, ps, reload}

// An output is where a command writes: results to the one, and why there are none to the other.
type output struct{ stdout, stderr io.Writer }

func main() {
	// A signal ends the command by the end of its context, so that it can withdraw what it has
	// asked for.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	exit := run(ctx, os.Args[1:], output{os.Stdout, os.Stderr})
	stop()
	os.Exit(exit)
}

// run runs the command that the arguments name.
func run(ctx context.Context, args []string, out output) (exit int) {
	if len(args) == 0 {
		usage(out.stderr)
		return exitUnable
	}
	name, rest := args[0], args[1:]
	switch name {
	case "help", "-h", "-help", "--help":
		return help(rest, out)
	}
	c := find(name)
	if c == nil {
		return unknown(name, out)
	}
	flags := flag.NewFlagSet(c.name, flag.ContinueOnError)
	flags.SetOutput(io.Discard) // parse writes the errors
	return c.run(ctx, flags, rest, out)
}

func find(name string) *command {
	for _, c := range commands {
		if c.name == name {
			return c
		}
	}
	return nil
}

func help(args []string, out output) (exit int) {
	if len(args) == 0 {
		usage(out.stdout)
		return exitDone
	}
	c := find(args[0])
	if c == nil {
		return unknown(args[0], out)
	}
	c.printHelp(out.stdout)
	return exitDone
}

func unknown(name string, out output) (exit int) {
	fmt.Fprintf(out.stderr, "autorestart: unknown command %q; see autorestart help\n", name)
	return exitUnable
}

func usage(w io.Writer) {
	fmt.Fprint(w, "Autorestart controls daemons that contain package autorestart.\n\nusage: autorestart COMMAND [ARGUMENTS]\n\ncommands:\n")
	for _, c := range commands {
		fmt.Fprintf(w, "  %-8s %s\n", c.name, c.summary)
	}
	fmt.Fprintf(w, "  %-8s %s\n", "help", "describe a command")
}

func (c *command) printHelp(w io.Writer) {
	fmt.Fprintf(w, "usage: autorestart %s %s\n\n%s\n", c.name, c.args, c.help)
}

// parse parses the arguments of a command, which has n of them besides its flags. If it returns
// false, the command exits with the status.
func (c *command) parse(flags *flag.FlagSet, args []string, n int, out output) (exit int, ok bool) {
	return c.parseWith(flags, args, func() int { return n }, out)
}

// parseWith is parse for a command whose flags say how many arguments it has.
func (c *command) parseWith(flags *flag.FlagSet, args []string, expected func() int, out output) (exit int, ok bool) {
	err := flags.Parse(args)
	n := expected()
	switch {
	case errors.Is(err, flag.ErrHelp):
		c.printHelp(out.stdout)
		return exitDone, false
	case err == nil && flags.NArg() == n:
		return 0, true
	case err == nil:
		err = fmt.Errorf("%d arguments, expected %d", flags.NArg(), n)
	}
	c.complain(out, err)
	fmt.Fprintf(out.stderr, "usage: autorestart %s %s\n", c.name, c.args)
	return exitUnable, false
}

// complain writes why a command did not do what it is for.
func (c *command) complain(out output, err error) {
	fmt.Fprintf(out.stderr, "autorestart %s: %s\n", c.name, strings.TrimSpace(err.Error()))
}
