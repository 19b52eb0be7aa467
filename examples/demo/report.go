package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// What the demo prints, for a terminal of 80 columns.

func printOpening() {
	fmt.Print(`A small HTTP daemon runs, and new versions of it are deployed in the ways that
people deploy. The daemon notices that its executable has changed, and restarts
itself in the same process. Meanwhile two clients send requests, one with a new
connection for each, the other on a connection that it keeps.

  building   `)
}

func printBuilt(version string) { fmt.Print(version, " ") }

func printAllBuilt(took time.Duration) { fmt.Printf("(%.1f s)\n", took.Seconds()) }

func printRunning(s site, url string) {
	fmt.Printf("  in         %s\n  running    %s, current -> releases/1\n  asking     %s, about every millisecond\n",
		s, executable, url)
}

const row = "  %-42s %8s %8s %7v  %s\n"

func printFirst(a answer) {
	fmt.Print(`
Times are from the beginning of a command to its end, and to the first answer
of the version that it deploys.

`)
	fmt.Printf(row, "command", "end", "answer", "PID", "version")
	fmt.Printf(row, "(start)", "", "", a.pid, a.version)
}

// printStep prints the outcome of a step. serving is zero if there was no restart.
func printStep(s step, took, serving time.Duration, a answer) {
	after := "-"
	if serving > 0 {
		after = milliseconds(serving)
	}
	fmt.Printf(row, s.title, milliseconds(took), after, a.pid, a.version)
	if s.note != "" {
		fmt.Printf("      (%s)\n", s.note)
	}
}

// printQuote prints a line of the daemon's log, wrapped and indented.
func printQuote(line string) {
	const indent, width = "      | ", 78
	text := indent
	for word := range strings.FieldsSeq(line) {
		if len(text)+len(word) > width && text != indent {
			fmt.Println(strings.TrimRight(text, " "))
			text = indent
		}
		text += word + " "
	}
	fmt.Println(strings.TrimRight(text, " "))
}

func printSummary(r *scenario) {
	slices.Sort(r.serving)
	n := len(r.serving)
	fmt.Printf(`
  deploys    %d, each followed by exactly one restart; always PID %d
  rollbacks  %d, of versions that were executed and did not work
  others     %d, without a new version to execute, and none was executed
  answer     after %s (median), %s (slowest)
  requests   %d on new connections and %d on a kept one: none lost, none
             repeated, the slowest answered after %s
`, n, r.now.pid, r.rollbacks, r.ignored, milliseconds(r.serving[n/2]), milliseconds(r.serving[n-1]),
		r.client.answered, r.keeper.answered, milliseconds(max(r.client.longest, r.keeper.longest)))
}

func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", d.Seconds()*1000)
}
