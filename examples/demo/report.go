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
people deploy. It restarts by itself: it notices that its executable is another
one, and replaces itself, in the same process. Meanwhile two clients keep asking,
one on a new connection each time, and one that keeps its own.

  building   `)
}

func printBuilt(version string) { fmt.Print(version, " ") }

func printAllBuilt(took time.Duration) { fmt.Printf("(%.1f s)\n", took.Seconds()) }

func printRunning(s site, url string) {
	fmt.Printf("  in         %s\n  running    %s, current -> releases/1\n  asking     %s, every millisecond or so\n",
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

// printStep prints what came of a step. Serving is zero if there was no restart.
func printStep(s step, took, serving time.Duration, a answer) {
	after := "-"
	if serving > 0 {
		after = milliseconds(serving)
	}
	fmt.Printf(row, s.what, milliseconds(took), after, a.pid, a.version)
	if s.note != "" {
		fmt.Printf("      (%s)\n", s.note)
	}
}

// printQuote prints what the daemon has logged, wrapped and indented.
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

func printSummary(p *performance) {
	slices.Sort(p.serving)
	n := len(p.serving)
	fmt.Printf(`
  deploys    %d, each followed by exactly one restart; PID %d all the time
  rollbacks  %d, of versions that were executed and did not work
  others     %d, which left nothing to execute, and nothing was executed
  answer     after %s (median), %s (slowest)
  requests   %d on new connections and %d on a kept one: none lost, none put
             again, the slowest answered after %s
`, n, p.now.pid, p.rollbacks, p.idle, milliseconds(p.serving[n/2]), milliseconds(p.serving[n-1]),
		p.client.answered, p.keeper.answered, milliseconds(max(p.client.longest, p.keeper.longest)))
}

func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", d.Seconds()*1000)
}
