package autorestartprom

import (
	"encoding/json"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/internal/telemetry"
)

// A Collector collects the metrics of restarts, which the package documentation lists. Its methods
// may be called by several goroutines at the same time.
type Collector struct {
	values *telemetry.Values

	mu    sync.Mutex
	tally tally

	counters counters
}

const ownName = "restarts"

// NewCollector returns the Collector of this program. A second call panics, because a program has one. Its
// metrics begin where those of the previous version have ended. If they can't cross the exec, that is
// logged, and they begin at 0 in the next version.
func NewCollector() *Collector {
	c := &Collector{values: telemetry.Open("prometheus")}
	c.counters.values = c.values
	c.tally = newTally(c.values.Get(ownName))
	return c
}

// Observe counts an event. It is for [autorestart.Restarter.Observe], alone or called by the
// program's own function. It must get all events.
func (c *Collector) Observe(e autorestart.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tally.add(e)
	if text, err := json.Marshal(&c.tally); err == nil {
		c.values.Set(ownName, text)
	}
}

const namespace = "autorestart"

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(namespace+"_"+name, help, labels, nil)
}

var (
	generation = describe("generation", "Number of the image of this process. Each exec adds one, also that of a rollback.")
	startTime  = describe("image_start_time_seconds",
		"Time at which the image of this process has started, since the Unix epoch. process_start_time_seconds is that of the first image.")
	ready       = describe("ready", "Whether this version has called Ready: 1 or 0.")
	rolledBack  = describe("rolled_back", "Whether this version runs again because a newer one was rolled back: 1 or 0.")
	waitingTime = describe("gate_waiting_start_time_seconds",
		"Time since which a restart waits for the Gate, since the Unix epoch. Absent if none waits.")

	restarts    = describe("restarts_total", "Restarts by outcome.", "outcome")
	rejections  = describe("rejections_total", "Versions that were found and not executed, by reason.", "reason")
	connections = describe("connections_cut_total", "Connections of package sockets that a restart has cut off.")
	unfinished  = describe("unfinished_restarts_total", "Restarts that have cut off work which was not done at the end of the DrainTimeout.")
	eventsLost  = describe("events_lost_total", "Events that these metrics have not counted.")

	phases   = describe("restart_phase_duration_seconds", "Duration of the phases of restarts, named by the step that ends them.", "phase")
	duration = describe("restart_duration_seconds", "Time from the notice of a new version until that version was ready, without the wait for the Gate.")
	gateWait = describe("gate_wait_seconds", "Time for which restarts have waited for the Gate.")
)

var descs = []*prometheus.Desc{
	generation, startTime, ready, rolledBack, waitingTime, restarts, rejections, connections, unfinished, eventsLost, phases, duration, gateWait,
}

// Describe implements [prometheus.Collector].
func (c *Collector) Describe(to chan<- *prometheus.Desc) {
	for _, desc := range descs {
		to <- desc
	}
}

// Collect implements [prometheus.Collector].
func (c *Collector) Collect(to chan<- prometheus.Metric) {
	gauge := func(desc *prometheus.Desc, value float64) {
		to <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value)
	}
	counter := func(desc *prometheus.Desc, value uint64, labels ...string) {
		to <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(value), labels...)
	}
	times := autorestart.LastRestart()
	gauge(generation, float64(autorestart.Generation()))
	gauge(startTime, seconds(times.Started))
	gauge(ready, oneIf(!times.Ready.IsZero()))
	gauge(rolledBack, oneIf(autorestart.RolledBack() != nil))

	c.mu.Lock()
	defer c.mu.Unlock()
	t := &c.tally
	if next := t.Course.Next; next.Waits() {
		gauge(waitingTime, seconds(next.WaitedFrom))
	}
	for _, outcome := range slices.Sorted(maps.Keys(t.Restarts)) {
		counter(restarts, t.Restarts[outcome], outcome)
	}
	for _, reason := range slices.Sorted(maps.Keys(t.Rejections)) {
		counter(rejections, t.Rejections[reason], reason)
	}
	counter(connections, t.ConnectionsCut)
	counter(unfinished, t.UnfinishedRestarts)
	counter(eventsLost, t.EventsLost)
	for _, phase := range slices.Sorted(maps.Keys(t.Phases)) {
		to <- t.Phases[phase].metric(phases, phase)
	}
	to <- t.Duration.metric(duration)
	to <- t.GateWait.metric(gateWait)
}

func seconds(t time.Time) float64 { return float64(t.UnixNano()) / 1e9 }

func oneIf(condition bool) float64 {
	if condition {
		return 1
	}
	return 0
}
