package main

import (
	"bytes"
	"strings"
	"testing"
)

// runCommand runs a command in this process.
func runCommand(t *testing.T, args ...string) (exit int, stdout, stderr string) {
	var out, errs bytes.Buffer
	exit = run(t.Context(), args, output{&out, &errs})
	return exit, out.String(), errs.String()
}

func TestHelp(t *testing.T) {
	for name, test := range map[string]struct {
		args           []string
		exit           int
		stdout, stderr string // what is in them; nothing else if empty
	}{
		"nothing":         {nil, exitUnable, "", "usage: autorestart COMMAND"},
		"help":            {[]string{"help"}, exitDone, "reload   restart a daemon", ""},
		"one file":        {[]string{"check", "next"}, exitUnable, "", "1 arguments, expected 2\nusage: autorestart check FILE PATH"},
		"flag":            {[]string{"-h"}, exitDone, "usage: autorestart COMMAND", ""},
		"long flag":       {[]string{"--help"}, exitDone, "usage: autorestart COMMAND", ""},
		"of a command":    {[]string{"help", "reload"}, exitDone, "usage: autorestart reload [-timeout DURATION] PID\n", ""},
		"by its flag":     {[]string{"reload", "-h"}, exitDone, "Exit status:", ""},
		"of no command":   {[]string{"help", "relaod"}, exitUnable, "", `unknown command "relaod"`},
		"no command":      {[]string{"relaod"}, exitUnable, "", `unknown command "relaod"; see autorestart help`},
		"no PID":          {[]string{"reload"}, exitUnable, "", "0 arguments, expected 1\nusage: autorestart reload"},
		"two PIDs":        {[]string{"reload", "1", "2"}, exitUnable, "", "2 arguments, expected 1"},
		"flag after PID":  {[]string{"reload", "1", "-timeout", "1s"}, exitUnable, "", "3 arguments, expected 1"},
		"unknown flag":    {[]string{"reload", "-x", "1"}, exitUnable, "", "-x\nusage: autorestart reload"},
		"flag of no time": {[]string{"reload", "-timeout", "1", "1"}, exitUnable, "", "invalid value"},
	} {
		exit, stdout, stderr := runCommand(t, test.args...)
		is := func(got, want string) bool { return strings.Contains(got, want) && (want == "") == (got == "") }
		if exit != test.exit || !is(stdout, test.stdout) || !is(stderr, test.stderr) {
			t.Errorf("%s: exit %d, %q, %q", name, exit, stdout, stderr)
		}
	}
}

// The help of each command is there, and no line of it is too long for a terminal.
func TestCommandsHaveHelp(t *testing.T) {
	for _, c := range commands {
		if c.summary == "" || c.help == "" || c.run == nil || find(c.name) != c {
			t.Errorf("%s is not complete", c.name)
		}
		for line := range strings.Lines(c.help) {
			if len(line) > 91 {
				t.Errorf("%s: %q is too long", c.name, line)
			}
		}
	}
}
