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

func printRunning(s site, url string, flags []string) {
	command := strings.Join(append([]string{executable}, flags...), " ")
	fmt.Printf("  in         %s\n  running    %s, current -> releases/1\n  asking     %s, about every millisecond\n",
		s, command, url)
}

const row = "  %-42s %8s %8s %7v  %s\n"

func printFirst(a answer) {
	fmt.Print(`
Times are from the beginning of a command to its end, and to the first answer
of the version that it deploys.
`)
	printHeader(a)
}

func printHeader(a answer) {
	fmt.Println()
	fmt.Printf(row, "command", "end", "answer", "PID", "version")
	fmt.Printf(row, "(start)", "", "", a.pid, a.version)
}

// printStep prints the outcome of a step. serving is zero if there was no restart.
func printStep(s step, took, serving time.Duration, a answer) {
	printRow(s.title, took, serving, a)
	if s.note != "" {
		fmt.Printf("      (%s)\n", s.note)
	}
}

// printRow prints a row of the table. A time of zero is none.
func printRow(title string, took, until time.Duration, a answer) {
	text := func(d time.Duration) string {
		if d == 0 {
			return "-"
		}
		return milliseconds(d)
	}
	fmt.Printf(row, title, text(took), text(until), a.pid, a.version)
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

func printOverlapOpening() {
	fmt.Print(`
Now the daemon restarts with Overlap. A new version first serves in a child
process, which has another PID. When the old version has finished its requests,
the new version is executed in the main process. So no client waits for the
download of another client, or for the start of a new version.

`)
}

func printOverlapSummary(r *scenario, d *download, started [2]int) {
	fmt.Printf(`
  download   %d MB, begun before two deploys, complete after them
  slow start %v in the child and again in the main process: meanwhile the old
             version answered %d requests, and then the child %d
  log.Fatal  has ended the child, and no client has noticed
  requests   %d on new connections and %d on a kept one: none lost, none
             repeated, the slowest answered after %s
`, d.size>>20, slowStart, started[0], started[1],
		r.client.answered, r.keeper.answered, milliseconds(max(r.client.longest, r.keeper.longest)))
}
