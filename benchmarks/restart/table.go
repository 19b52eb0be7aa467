//go:build linux

package restart

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"
)

// A table is printed at the end. Its first row is the heading.
type table [][]any

// requests compares all servers. The other tables are about this library alone.
var (
	requests  = table{{"requests", "socket", "server", "restarts", "requests/s", "lost", "resent", "slowest", "without deploys", "deploy to answer", "kinds of loss"}}
	datagrams = table{{"datagrams", "restarts", "sent", "lost", "slowest echo", "deploy to echo"}}
	rollbacks = table{{"a version that", "deploys", "until the one before answers", "less ReadyTimeout", "slowest deploy to answer", "lost"}}
)

func (t *table) add(cells ...any) { *t = append(*t, cells) }

func (t table) print(w io.Writer) error {
	if len(t) == 1 {
		return nil // its benchmark did not run
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range t {
		for _, cell := range row {
			if d, ok := cell.(time.Duration); ok {
				cell = fmt.Sprintf("%.1f ms", milliseconds(d))
			}
			fmt.Fprintf(tw, "%v\t", cell)
		}
		fmt.Fprintln(tw)
	}
	fmt.Fprintln(tw)
	return tw.Flush()
}

func milliseconds(d time.Duration) float64 { return float64(d) / 1e6 }

func median(times []time.Duration) time.Duration {
	if len(times) == 0 {
		return 0
	}
	times = slices.Sorted(slices.Values(times))
	return times[len(times)/2]
}

func slowest(times []time.Duration) time.Duration {
	if len(times) == 0 {
		return 0
	}
	return slices.Max(times)
}
