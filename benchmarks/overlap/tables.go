//go:build linux

package overlap

import (
	"fmt"
	"slices"

	"github.com/autorestart-go/autorestart/benchmarks/internal/table"
)

var (
	results = table.Table{{"load", "server", "deploys", "requests", "lost", "sent again", "connections ended", "slowest near a change, median", "of all deploys", "slowest elsewhere", "kinds of loss"}}
	moments = table.Table{append([]any{"slowest request near", "server"}, headings(allChanges)...)}
	costs   = table.Table{{"cost", "server", "memory before", "at most", "CPU time of the new process until it is ready, median", "most"}}
)

func headings(texts []string) (cells []any) {
	for _, text := range texts {
		cells = append(cells, text)
	}
	return cells
}

// print adds the outcome to the tables.
func (o *outcome) print() {
	ended := "-"
	if o.load.kept != nil {
		ended = fmt.Sprint(o.ended)
	}
	row := []any{o.load.name, o.server.Name, o.deploys, o.requests, o.lost.Total(), o.resent, ended}
	if len(o.near) == 0 {
		row = append(row, "-", "-", "-")
	} else {
		row = append(row, table.Median(o.near), table.Slowest(o.near), table.Slowest(o.elsewhere))
	}
	losses := o.lost.String()
	if o.failed {
		losses += ", then stuck"
	}
	results.Add(append(row, losses)...)
	if len(o.nearEach) > 0 {
		o.printMoments()
	}
	if len(o.cpu) > 0 && len(o.memory) > 0 {
		costs.Add(o.load.name, o.server.Name, mebibytes(slices.Max(o.memory)), mebibytes(o.peak), table.Median(o.cpu), table.Slowest(o.cpu))
	}
}

func (o *outcome) printMoments() {
	row := []any{o.load.name, o.server.Name}
	for _, what := range allChanges {
		if d, ok := o.nearEach[what]; ok {
			row = append(row, d)
		} else {
			row = append(row, "-")
		}
	}
	moments.Add(row...)
}

func mebibytes(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }
