// Package table prints the results of benchmarks as tables.
package table

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"
)

// A Table is printed at the end. Its first row is the heading.
type Table [][]any

// Add adds a row.
func (t *Table) Add(cells ...any) { *t = append(*t, cells) }

// Print prints the table, unless it has no row but the heading.
func (t Table) Print(w io.Writer) error {
	if len(t) == 1 {
		return nil // its benchmark did not run
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range t {
		for _, cell := range row {
			if d, ok := cell.(time.Duration); ok {
				cell = fmt.Sprintf("%.1f ms", Milliseconds(d))
			}
			fmt.Fprintf(tw, "%v\t", cell)
		}
		fmt.Fprintln(tw)
	}
	fmt.Fprintln(tw)
	return tw.Flush()
}

// Milliseconds returns d as benchmarks report it.
func Milliseconds(d time.Duration) float64 { return float64(d) / 1e6 }

// Median returns the median, or zero if there are no times.
func Median(times []time.Duration) time.Duration {
	if len(times) == 0 {
		return 0
	}
	times = slices.Sorted(slices.Values(times))
	return times[len(times)/2]
}

// Slowest returns the longest time, or zero if there is none.
func Slowest(times []time.Duration) time.Duration {
	if len(times) == 0 {
		return 0
	}
	return slices.Max(times)
}
