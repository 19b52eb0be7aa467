// Command autorestart-fleet shows and changes what a group of package etcdgate has in etcd.
//
//	autorestart-fleet [flags] status GROUP [-json]     members that hold a slot or wait, and versions that have failed
//	autorestart-fleet [flags] clear GROUP VERSION      a version that has failed may be executed again
//	autorestart-fleet [flags] release GROUP MEMBER     frees the slot of a member that does not come back
//	autorestart-fleet [flags] set GROUP [-max N] [-canaries N] [-healthy-for D] [-service S]
//
// A VERSION is its name, its build ID, or the beginning of its hash. With -max 0, no restart begins until Max
// is set again.
//
// The flags are -endpoints, -prefix, -namespace, -cacert, -cert, -key, -user and -timeout. The password of the
// user is read from the file that -password-file names, or from the environment variable ETCD_PASSWORD: the
// arguments of a process can be read by every user of the machine.
//
// The exit status is 0, or 1 if etcd or the group has refused, or 2 for wrong arguments.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	"github.com/autorestart-go/autorestart/contrib/fleet/internal/group"
	"github.com/autorestart-go/autorestart/contrib/fleet/internal/rollout"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err := run(ctx, os.Args[1:], os.Getenv("ETCD_PASSWORD"), os.Stdout, os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
	case errors.As(err, new(*usageError)):
		fmt.Fprintln(os.Stderr, "autorestart-fleet: "+err.Error())
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "autorestart-fleet: "+err.Error())
		os.Exit(1)
	}
}

// A usageError says that the arguments are wrong.
type usageError struct{ error }

func usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

const usage = `autorestart-fleet [flags] status GROUP [-json]
autorestart-fleet [flags] clear GROUP VERSION
autorestart-fleet [flags] release GROUP MEMBER
autorestart-fleet [flags] set GROUP [-max N] [-canaries N] [-healthy-for D] [-service S]`

func run(ctx context.Context, args []string, password string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("autorestart-fleet", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprintln(stderr, usage)
		flags.PrintDefaults()
	}
	c := connection{password: password}
	c.addFlags(flags)
	prefix := flags.String("prefix", group.DefaultPrefix, "where the keys of groups are")
	timeout := flags.Duration("timeout", 10*time.Second, "how long etcd may take")
	if err := parse(flags, args); err != nil {
		return err
	}
	if flags.NArg() < 2 {
		return usagef("a command and a group are missing\n%s", usage)
	}
	order, err := parseOrder(flags.Arg(0), flags.Args()[2:], stderr)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()
	client, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	g, err := group.New(client, *prefix, flags.Arg(1))
	if err != nil {
		return &usageError{err}
	}
	if err := order(ctx, g, stdout); err != nil {
		return fmt.Errorf("group %s: %w", flags.Arg(1), g.Explain(context.WithoutCancel(ctx), err))
	}
	return nil
}

func parse(flags *flag.FlagSet, args []string) error {
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return err
		}
		return &usageError{err}
	}
	return nil
}

// An order is what the command does with a group.
type order func(ctx context.Context, g *group.Group, stdout io.Writer) error

func parseOrder(name string, args []string, stderr io.Writer) (order, error) {
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.SetOutput(stderr)
	switch name {
	case "status":
		asJSON := flags.Bool("json", false, "the document, the queue and the members that live, as JSON")
		if err := parseArgs(flags, args, 0); err != nil {
			return nil, err
		}
		return func(ctx context.Context, g *group.Group, stdout io.Writer) error {
			return status(ctx, g, stdout, *asJSON)
		}, nil
	case "clear", "release":
		if err := parseArgs(flags, args, 1); err != nil {
			return nil, err
		}
		return change(func(d *rollout.Document) (*rollout.Document, error) {
			if name == "clear" {
				return d.Clear(flags.Arg(0))
			}
			return d.Release(d.MemberOf(flags.Arg(0)))
		}), nil
	case "set":
		settings, err := parseSettings(flags, args)
		return change(func(d *rollout.Document) (*rollout.Document, error) { return d.Set(settings) }), err
	}
	return nil, usagef("no command %s\n%s", name, usage)
}

func parseArgs(flags *flag.FlagSet, args []string, n int) error {
	if err := parse(flags, args); err != nil {
		return err
	}
	if flags.NArg() != n {
		return usagef("%s takes a group and %d arguments\n%s", flags.Name(), n, usage)
	}
	return nil
}

func parseSettings(flags *flag.FlagSet, args []string) (s rollout.Settings, err error) {
	maximum := flags.Int("max", 0, "how many members may restart at once; 0: none")
	canaries := flags.Int("canaries", 0, "how many members execute a version before it is proven")
	healthyFor := flags.Duration("healthy-for", 0, "how long each of them runs it to prove it")
	service := flags.String("service", "", "the program of the group")
	if err := parseArgs(flags, args, 0); err != nil {
		return s, err
	}
	flags.Visit(func(f *flag.Flag) {
		switch f.Name {
		case "max":
			s.Max = maximum
		case "canaries":
			s.Canaries = canaries
		case "healthy-for":
			s.HealthyFor = (*rollout.Duration)(healthyFor)
		case "service":
			s.Service = service
		}
	})
	if s == (rollout.Settings{}) {
		return s, usagef("set changes nothing\n%s", usage)
	}
	return s, nil
}

// change returns an order that changes the document, again if a member has changed it meanwhile.
func change(f func(*rollout.Document) (*rollout.Document, error)) order {
	return func(ctx context.Context, g *group.Group, _ io.Writer) error {
		for {
			s, err := g.Read(ctx)
			if err != nil {
				return err
			}
			if s.Document == nil {
				return errNoGroup
			}
			next, err := f(s.Document)
			if err != nil {
				return err
			}
			if done, err := g.Write(ctx, s, group.Write{Next: next}); done || err != nil {
				return err
			}
		}
	}
}

var errNoGroup = errors.New("there is none: no member has asked for leave yet")
