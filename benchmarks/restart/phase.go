//go:build linux

package restart

import (
	"maps"
	"time"

	"github.com/autorestart-go/autorestart/benchmarks/internal/client"
	"github.com/autorestart-go/autorestart/benchmarks/internal/table"
)

// A phase has the results of the requests of a time of load.
type phase struct {
	elapsed   time.Duration
	latencies []time.Duration // of all requests, including lost ones
	lost      client.Losses
	resent    int // by net/http itself, or after Go's HTTP/2 client gave it up unsent
}

// merge merges the results of several clients in the same time.
func merge(parts []phase, elapsed time.Duration) phase {
	all := phase{elapsed: elapsed, lost: make(client.Losses)}
	for _, part := range parts {
		all.latencies = append(all.latencies, part.latencies...)
		all.resent += part.resent
		for kind, n := range maps.All(part.lost) {
			all.lost[kind] += n
		}
	}
	return all
}

func (p phase) perSecond() float64 {
	if p.elapsed == 0 { // it never began
		return 0
	}
	return float64(len(p.latencies)) / p.elapsed.Seconds()
}

func (p phase) slowest() time.Duration { return table.Slowest(p.latencies) }
