package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/autorestart-go/autorestart/internal/rollout"
	"github.com/autorestart-go/autorestart/internal/statuspage"
)

// ps lists the processes that restart themselves.
var ps = &command{
	name:    "ps",
	args:    "[-json]",
	summary: "list the processes that restart themselves, and what they are doing",
	help: `Ps lists every process whose Restarter runs, also those in containers:

  PID       as this command sees it
  PROGRAM   the file that the process watches, as the process sees it
  VERSION   of the program
  GEN       how many execs have led to this version
  SINCE     when this version started
  WATCH     how the process notices a new version; - if it restarts only when asked to
  STATUS    what the process is doing: starting, serving, verifying, waiting for its Gate,
            draining, restarting
  LAST      the last rejection or rollback, with the reason; - if the last restart
            succeeded, or there was none

On a terminal, lines are cut to its width. A process is left out if this user may not read
its status.

  -json   write an object for each process, one a line

Exit status:
  0   the list is complete for this user
  2   the processes can't be listed`,
}

func init() { ps.run = runPS } // which refers to ps

// A listed is a process as -json shows it.
type listed struct {
	PID        int         `json:"pid"`
	Program    string      `json:"program"`
	Version    string      `json:"version"`
	Generation int         `json:"generation"`
	Since      time.Time   `json:"since"` // when this version started
	Watch      string      `json:"watch,omitempty"`
	Status     string      `json:"status"`
	StatusAt   time.Time   `json:"statusSince"`
	Trial      bool        `json:"trial"`
	Last       *lastResult `json:"last,omitempty"`
}

// A lastResult is the outcome of the last restart, or attempt at one.
type lastResult struct {
	Outcome    string    `json:"outcome"`
	Version    string    `json:"version"` // that says so
	Generation int       `json:"generation"`
	At         time.Time `json:"at"`
	Reason     string    `json:"reason,omitempty"`
	Retryable  bool      `json:"retryable,omitempty"`
}

func runPS(_ context.Context, flags *flag.FlagSet, args []string, out output) (exit int) {
	asJSON := flags.Bool("json", false, "")
	if exit, ok := ps.parse(flags, args, 0, out); !ok {
		return exit
	}
	all, forbidden, err := list()
	if err != nil {
		ps.complain(out, err)
		return exitUnable
	}
	if asJSON := *asJSON; asJSON {
		encoder := json.NewEncoder(out.stdout)
		for _, p := range all {
			encoder.Encode(p)
		}
	} else {
		fmt.Fprint(out.stdout, table(all, time.Now(), terminalWidth(out.stdout)))
	}
	if forbidden > 0 && os.Getuid() != 0 {
		ps.complain(out, fmt.Errorf("%d processes of other users may not be read; root sees them", forbidden))
	}
	return exitDone
}

// list returns the processes, and how many may not be read.
func list() (all []listed, forbidden int, err error) {
	err = statuspage.Scan(func(pid int, r *statuspage.Reader, err error) (keep bool) {
		switch {
		case errors.Is(err, fs.ErrPermission):
			forbidden++
		case errors.Is(err, statuspage.ErrFormat), errors.Is(err, statuspage.ErrDamaged):
			all = append(all, listed{PID: pid, Program: executableOf(pid), Status: err.Error()})
		case err == nil:
			if s, err := r.Status(); err == nil {
				all = append(all, newListed(pid, s))
			}
		}
		return false
	})
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w; this command needs /proc", err)
	}
	slices.SortFunc(all, func(a, b listed) int { return a.PID - b.PID })
	return all, forbidden, err
}

func newListed(pid int, s statuspage.Status) listed {
	p := listed{
		PID: pid, Program: showPath(s.Path), Version: s.Version, Generation: s.Generation, Since: s.Started, Watch: s.Watch,
		Status: rollout.Doing(s), StatusAt: s.Since, Trial: s.Trial,
	}
	if p.Program == "" {
		p.Program = executableOf(pid)
	}
	if p.Since.IsZero() {
		p.Since = s.Since
	}
	if o := s.Last; o.Kind != "" {
		p.Last = &lastResult{string(o.Kind), o.Version, o.Generation, o.At, o.Reason, o.Retryable}
	}
	return p
}

func executableOf(pid int) string {
	path, _ := os.Readlink("/proc/" + strconv.Itoa(pid) + "/exe")
	return showPath(path)
}

// table returns the processes as lines of at most width bytes, or of any length if width is 0.
func table(all []listed, now time.Time, width int) string {
	rows := [][]string{{"PID", "PROGRAM", "VERSION", "GEN", "SINCE", "WATCH", "STATUS", "LAST"}}
	for _, p := range all {
		last := ""
		if o := p.Last; o != nil && o.Outcome != string(statuspage.Ready) && o.Outcome != string(statuspage.Healthy) {
			last = o.Outcome + ": " + o.Reason
		}
		rows = append(rows, []string{
			strconv.Itoa(p.PID), p.Program, p.Version, strconv.Itoa(p.Generation), since(p.Since, now), p.Watch, p.Status, last,
		})
	}
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell), 1)
		}
	}
	var b strings.Builder
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			if cell == "" {
				cell = "-"
			}
			line.WriteString(cell)
			if i < len(row)-1 {
				line.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+2))
			}
		}
		text := line.String()
		if width > 0 {
			text = cut(text, width)
		}
		b.WriteString(text + "\n")
	}
	return b.String()
}

// since returns a time of today as one of the day, and any other as a date.
func since(t, now time.Time) string {
	switch {
	case t.IsZero():
		return ""
	case now.Sub(t) < 24*time.Hour && t.YearDay() == now.YearDay():
		return t.Format("15:04:05")
	}
	return t.Format("2006-01-02")
}

// cut cuts a text to a number of characters.
func cut(text string, limit int) string {
	if utf8.RuneCountInString(text) <= limit || limit < 1 {
		return text
	}
	return string([]rune(text)[:limit-1]) + "…"
}

// showPath returns a path as a terminal can show it.
func showPath(path string) string {
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !strconv.IsPrint(r) {
			return '?'
		}
		return r
	}, path)
}
