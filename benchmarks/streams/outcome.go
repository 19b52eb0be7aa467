//go:build linux

package streams

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/autorestart-go/autorestart/benchmarks/internal/table"
)

const (
	// A tenth of spread is longer than a busy machine keeps a client waiting.
	spread = 3 * time.Second
	grace  = time.Second

	// maxShare is which part of the clients may come back in a tenth of spread.
	maxShare = 0.2
)

// A limit is by how much drains may exceed their time.
type limit struct {
	median time.Duration
	each   time.Duration
}

var (
	// quiet is for a machine that does nothing else.
	quiet = limit{100 * time.Millisecond, 500 * time.Millisecond}

	// busy is for another one. coder/websocket alone waits 5 s.
	busy = limit{250 * time.Millisecond, 2 * time.Second}
)

func isFull() bool { return os.Getenv("AUTORESTART_BENCH_FULL") == "1" }

// limits returns the limit of the form that is run.
func limits() limit {
	if isFull() {
		return quiet
	}
	return busy
}

var results = table.Table{{"mode", "restarts", "WebSockets", "close frames", "busiest tenth", "drain, median", "drain, slowest", "asked"}}

// An outcome is what comes of some restarts. It is a [measure.Measurement].
type outcome struct {
	name     string
	asked    time.Duration // for a drain
	restarts int
	ended    int // WebSockets
	frames   int // of those, with a close frame
	errs     []error
	drains   []time.Duration
	shares   []float64 // of the busiest tenth, in each drain
}

// addRestart adds the ends of WebSockets in a restart.
func (o *outcome) addRestart(drain time.Duration, ends []end, overlap bool) {
	o.restarts++
	o.drains = append(o.drains, drain)
	o.addEnds(ends, overlap)
}

// addEnds adds the ends of WebSockets in a drain.
func (o *outcome) addEnds(ends []end, overlap bool) {
	var hints, comings []time.Duration
	first := ends[0].again
	for _, e := range ends {
		o.ended++
		if e.err != nil {
			o.errs = append(o.errs, e.err)
			continue
		}
		o.frames++
		hints, comings = append(hints, e.retry), append(comings, e.again.Sub(first))
	}
	o.shares = append(o.shares, busiestTenth(comings))
	if share := busiestTenth(hints); !overlap && share > maxShare {
		o.errs = append(o.errs, fmt.Errorf("%.0f %% of the hints are in a tenth of the time", 100*share))
	}
}

// busiestTenth returns the part of the times that is in the busiest stretch of a tenth of spread.
func busiestTenth(times []time.Duration) float64 {
	times = slices.Sorted(slices.Values(times))
	busiest, first := 0, 0
	for last, t := range times {
		for t-times[first] >= spread/10 {
			first++
		}
		busiest = max(busiest, last-first+1)
	}
	return float64(busiest) / float64(max(1, len(times)))
}

// Lost returns an error if a client got no close frame, or a wrong one.
func (o *outcome) Lost() error {
	if latest := table.Slowest(o.drains) - o.asked; latest > limits().each {
		o.errs = append(o.errs, fmt.Errorf("%s: a drain took %v longer than asked", o.name, latest))
	}
	if len(o.errs) > 0 {
		return fmt.Errorf("%s: %d faults in %d restarts, the first: %w", o.name, len(o.errs), o.restarts, o.errs[0])
	}
	return nil
}

// Slow returns an error if the drains take longer than asked, or the clients come back together.
func (o *outcome) Slow() error {
	var errs []error
	if later := table.Median(o.drains) - o.asked; later > limits().median {
		errs = append(errs, fmt.Errorf("%s: in the median, a drain takes %v longer than asked", o.name, later))
	}
	if share := o.share(); share > maxShare {
		errs = append(errs, fmt.Errorf("%s: in the median, %.0f %% of the clients come back in a tenth of the time", o.name, 100*share))
	}
	return errors.Join(errs...)
}

// share returns the part of the clients in the busiest tenth, in the median of the drains.
func (o *outcome) share() float64 { return slices.Sorted(slices.Values(o.shares))[len(o.shares)/2] }

func (o *outcome) print() {
	results.Add(o.name, o.restarts, o.ended, o.frames, fmt.Sprintf("%.0f %%", 100*o.share()),
		table.Median(o.drains), table.Slowest(o.drains), o.asked)
}
