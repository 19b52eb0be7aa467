package autorestartprom

import (
	"encoding/json"
	"slices"
	"sort"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/internal/telemetry"
)

// A tally is what a Collector has counted. It crosses the exec as JSON: another version of this package
// may have other fields, outcomes, reasons and phases.
type tally struct {
	Course             telemetry.Course
	Restarts           map[telemetry.Outcome]uint64
	Rejections         map[telemetry.Reason]uint64
	ConnectionsCut     uint64
	UnfinishedRestarts uint64
	EventsLost         uint64
	Phases             map[string]*histogram
	Duration, GateWait *histogram
}

var (
	phaseBuckets = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}
	waitBuckets  = []float64{.1, 1, 10, 30, 60, 300, 900, 1800, 3600, 4 * 3600, 24 * 3600}
)

// gatePhase has buckets and a metric of its own.
const gatePhase = "allowed"

// newTally returns a tally that goes on with the JSON of another one, as far as that can be read.
func newTally(text []byte) tally {
	var t tally
	if json.Unmarshal(text, &t) != nil {
		t = tally{}
	}
	t.Restarts = withZeros(t.Restarts, telemetry.Outcomes())
	t.Rejections = withZeros(t.Rejections, telemetry.Reasons())
	old := t.Phases
	t.Phases = map[string]*histogram{}
	for _, phase := range telemetry.Phases {
		if phase != gatePhase {
			t.Phases[phase] = old[phase].orNew(phaseBuckets)
		}
	}
	t.Duration = t.Duration.orNew(phaseBuckets)
	t.GateWait = t.GateWait.orNew(waitBuckets)
	return t
}

// withZeros adds the keys that are missing: a counter that appears with its first event would not
// show that event as an increase.
func withZeros(counts map[string]uint64, keys []string) map[string]uint64 {
	if counts == nil {
		counts = map[string]uint64{}
	}
	for _, key := range keys {
		counts[key] += 0
	}
	return counts
}

func (t *tally) add(e autorestart.Event) {
	t.EventsLost += uint64(e.Lost)
	before := t.Course.Next
	if e.Kind == autorestart.EventRejected {
		t.Rejections[t.Course.Reason(e)]++
	}
	for _, r := range t.Course.Event(e) {
		t.Restarts[r.Outcome]++
		if r.Outcome != telemetry.Ready {
			continue
		}
		t.Duration.observe(max(0, telemetry.Between(r.Times.Seen, r.Times.Ready)-r.Waited()))
		for _, phase := range r.Phases() {
			if h := t.Phases[phase.Name]; h != nil {
				h.observe(phase.To.Sub(phase.From))
			}
		}
	}
	if before.Waits() && !t.Course.Next.Waits() {
		t.GateWait.observe(telemetry.Between(before.WaitedFrom, e.At))
	}
	if e.Kind == autorestart.EventRestarting {
		t.ConnectionsCut += uint64(t.Course.Next.Cut())
		if len(e.Unfinished) > 0 {
			t.UnfinishedRestarts++
		}
	}
}

// A histogram counts values below upper bounds, in seconds.
type histogram struct {
	Bounds []float64
	Counts []uint64 // not cumulative; one more than Bounds
	Sum    float64
}

// orNew returns h, or a new histogram if h is nil or has other bounds.
func (h *histogram) orNew(bounds []float64) *histogram {
	if h != nil && slices.Equal(h.Bounds, bounds) && len(h.Counts) == len(bounds)+1 {
		return h
	}
	return &histogram{Bounds: bounds, Counts: make([]uint64, len(bounds)+1)}
}

func (h *histogram) observe(d time.Duration) {
	h.Counts[sort.SearchFloat64s(h.Bounds, d.Seconds())]++
	h.Sum += d.Seconds()
}

func (h *histogram) metric(desc *prometheus.Desc, labels ...string) prometheus.Metric {
	cumulative := map[float64]uint64{}
	var n uint64
	for i, count := range h.Counts {
		n += count
		if i < len(h.Bounds) {
			cumulative[h.Bounds[i]] = n
		}
	}
	return prometheus.MustNewConstHistogram(desc, n, h.Sum, cumulative, labels...)
}
