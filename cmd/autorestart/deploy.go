package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"time"

	"github.com/autorestart-go/autorestart/internal/place"
	"github.com/autorestart-go/autorestart/internal/rollout"
)

// deploy puts a new version in place, and waits for the processes that run it.
var deploy = &command{
	name:    "deploy",
	args:    "[-timeout DURATION] [-json] (NEW | -rollback) PATH",
	summary: "put a new version in place, and wait until all processes run it",
	help: `Deploy copies the file NEW over the executable at PATH, by a rename in the directory of
PATH, with the mode, the owner, the ACL, the capabilities and the other extended
attributes of the file that it replaces. NEW.sig and NEW.sigph, the signatures of package
verify, are put in place with it. The version that is replaced stays beside it as
PATH.previous, unless no process runs it, and one runs PATH.previous. If PATH is a
symbolic link, the file that it leads to is replaced.

Then deploy waits until each process that runs PATH is ready with the new version, and
healthy if that is on trial. It waits for processes of this machine, also in containers.

  -rollback           put PATH.previous in place, and no NEW
  -timeout DURATION   how long to wait, 5m by default; without a limit if 0
  -json               write an object for each event, one a line

Exit status:
  0   all processes run the new version, and are ready
  1   a process has rolled it back, has rejected it, or has ended, or another file was
      deployed meanwhile: deploy writes the reason
  2   the file could not be put in place; or it is in place, and the time is up, no
      process runs PATH, or it can't be known whether all are ready`,
}

func init() { deploy.run = runDeploy } // which refers to deploy

// defaultTimeout is that of -timeout.
const defaultTimeout = 5 * time.Minute

func runDeploy(ctx context.Context, flags *flag.FlagSet, args []string, out output) (exit int) {
	timeout := flags.Duration("timeout", defaultTimeout, "")
	asJSON := flags.Bool("json", false, "")
	rollback := flags.Bool("rollback", false, "")
	files := func() int {
		if *rollback {
			return 1
		}
		return 2
	}
	if exit, ok := deploy.parseWith(flags, args, files, out); !ok {
		return exit
	}
	if *timeout < 0 {
		deploy.complain(out, fmt.Errorf("the timeout %v is negative", *timeout))
		return exitUnable
	}
	source, path := flags.Arg(0), flags.Arg(files()-1)
	if *rollback {
		source = ""
	}
	placement, err := place.Prepare(ctx, source, path, *rollback, *timeout)
	if err != nil {
		deploy.complain(out, explainPlace(err))
		return exitUnable
	}
	defer placement.Close()
	r, err := rollout.Begin(placement)
	if err != nil {
		deploy.complain(out, err)
		return exitUnable
	}
	defer r.Close()
	if ctx.Err() != nil {
		deploy.complain(out, context.Cause(ctx))
		return exitUnable
	}
	if !*rollback {
		placement.KeepPrevious(r.Runs)
	}
	result, err := placement.Commit(ctx)
	if err != nil {
		deploy.complain(out, explainPlace(err))
		return exitUnable
	}
	show := newShow(out, *asJSON)
	show.placed(result)
	if *timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, *timeout, &timeoutError{*timeout})
		defer cancel()
	}
	if err := r.Placed(); err != nil {
		deploy.complain(out, err)
		return exitUnable
	}
	show.all = r.Processes
	complete := r.Wait(ctx, show.process)
	return show.result(complete, context.Cause(ctx))
}

func explainPlace(err error) error {
	if errors.Is(err, errors.ErrUnsupported) {
		return fmt.Errorf("%w; deploy needs Linux", err)
	}
	return err
}

// A show writes what deploy does.
type show struct {
	out      output
	asJSON   bool
	terminal bool // the last line shows how far the deploy is
	all      func() []*rollout.Process
	line     bool // the last line is on the terminal
	begun    time.Time
}

func newShow(out output, asJSON bool) *show {
	return &show{out: out, asJSON: asJSON, terminal: !asJSON && isTerminal(out.stdout), begun: time.Now()}
}

// A deployEvent is one line of -json.
type deployEvent struct {
	Event string `json:"event"` // placed, process or result

	// Of placed.
	File     string   `json:"file,omitempty"`
	Previous string   `json:"previous,omitempty"`
	Warnings []string `json:"warnings,omitempty"`

	// Of process.
	PID        int    `json:"pid,omitempty"`
	State      string `json:"state,omitempty"`
	Text       string `json:"text,omitempty"`
	Version    string `json:"version,omitempty"`
	Generation *int   `json:"generation,omitempty"`

	// Of result.
	Exit   *int           `json:"exit,omitempty"`
	Counts map[string]int `json:"counts,omitempty"` // processes by their states
	Reason string         `json:"reason,omitempty"`
}

func (s *show) write(e deployEvent) { json.NewEncoder(s.out.stdout).Encode(e) }

func (s *show) placed(r place.Result) {
	if s.asJSON {
		s.write(deployEvent{Event: "placed", File: r.Target, Previous: r.Previous, Warnings: r.Warnings})
		return
	}
	fmt.Fprintf(s.out.stdout, "%s is in place; the previous version is %s\n", r.Target, r.Previous)
	for _, warning := range r.Warnings {
		deploy.complain(s.out, errors.New("warning: "+warning))
	}
}

// process shows that the state of a process has changed.
func (s *show) process(p *rollout.Process) {
	if s.asJSON {
		s.write(deployEvent{
			Event: "process", PID: p.PID, State: string(p.State), Text: p.Text, Version: p.Status.Version,
			Generation: &p.Status.Generation,
		})
		return
	}
	s.clear()
	if to := s.stream(p.State); !s.terminal || p.State != rollout.Waiting {
		fmt.Fprintf(to, "process %d: %s\n", p.PID, p.Text)
	}
	if s.terminal && s.all != nil {
		done, all := 0, s.all()
		for _, p := range all {
			if p.State != rollout.Waiting {
				done++
			}
		}
		if done < len(all) {
			text := fmt.Sprintf("%d of %d processes; process %d: %s", done, len(all), p.PID, p.Text)
			fmt.Fprint(s.out.stdout, cut(text, terminalWidth(s.out.stdout)-1))
			s.line = true
		}
	}
}

// stream returns where a process of a state is shown: why there is no success to standard error.
func (s *show) stream(state rollout.State) io.Writer {
	if state.Failed() || state == rollout.Unknown {
		return s.out.stderr
	}
	return s.out.stdout
}

func (s *show) clear() {
	if s.line {
		fmt.Fprint(s.out.stdout, "\r\x1b[K")
		s.line = false
	}
}

// result shows the result, and returns the exit status. cause is why the waiting has ended, if it is not complete.
func (s *show) result(complete bool, cause error) (exit int) {
	s.clear()
	counts := map[string]int{}
	failed, unknown := 0, 0
	for _, p := range s.all() {
		counts[string(p.State)]++
		switch {
		case p.State.Failed():
			failed++
		case p.State == rollout.Unknown:
			unknown++
		case p.State == rollout.Waiting && !s.asJSON:
			fmt.Fprintf(s.out.stderr, "process %d: %s\n", p.PID, p.Text)
		}
	}
	n := len(s.all())
	reason := ""
	switch {
	case failed > 0:
		exit, reason = exitFailed, fmt.Sprintf("%d of %d processes have not taken the new version", failed, n)
	case n == 0:
		exit, reason = exitUnable, "no process runs this file; it stays in place"
	case !complete:
		exit, reason = exitUnable, fmt.Sprintf("%v for %d of %d processes; the file stays in place", cause, counts[string(rollout.Waiting)], n)
	case unknown > 0:
		exit, reason = exitUnable, fmt.Sprintf("it is not known whether %d of %d processes are ready", unknown, n)
	}
	switch {
	case s.asJSON:
		s.write(deployEvent{Event: "result", Exit: &exit, Counts: counts, Reason: reason})
	case exit != exitDone:
		deploy.complain(s.out, errors.New(reason))
	default:
		all := fmt.Sprintf("all %d processes are", n)
		if n == 1 {
			all = "the process is"
		}
		fmt.Fprintf(s.out.stdout, "%s ready after %v\n", all, time.Since(s.begun).Round(time.Millisecond))
	}
	return exit
}
