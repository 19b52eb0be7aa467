package autorestartprom

import (
	"context"
	"encoding/json"
	"maps"
	"math"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/internal/telemetry"
)

// Keep has a counter of the program go on over restarts and rollbacks: Keep adds the value that the
// counter had in the previous version, and each restart saves the value that it has then. The name
// is that of the value alone, and need not be that of the metric. Keep panics if another counter has
// the name.
//
// Call Keep before the counter is used. What is counted when all drainers have been drained is lost,
// such as a request that is cut off and ends at that moment. After a crash the counter begins
// at 0.
func (c *Collector) Keep(name string, counter prometheus.Counter) {
	c.counters.keep(name, counter, func(s series) bool {
		counter.Add(s.Value)
		return true
	})
}

// KeepVec is [Collector.Keep] for all counters of a vector.
//
// If the vector has lost a label since the previous version, the counters that differ in that label
// alone are added up. If the vector has a new label, a value fits no single counter: the
// counters begin at 0. Their old values go on if the new version is rolled back.
func (c *Collector) KeepVec(name string, vec *prometheus.CounterVec) {
	c.counters.keep(name, vec, func(s series) bool {
		labels := maps.Clone(s.Labels)
		for label, value := range labels {
			// That fails for a label that the vector lacks, or that is constant.
			if _, err := vec.CurryWith(prometheus.Labels{label: value}); err != nil {
				delete(labels, label)
			}
		}
		counter, err := vec.GetMetricWith(labels)
		if err == nil {
			counter.Add(s.Value)
		}
		return err == nil
	})
}

// A series is a counter as it crosses the exec.
type series struct {
	Labels map[string]string
	Value  float64
}

// isValid reports whether a counter can have the value: Add panics for others.
func (s series) isValid() bool { return s.Value >= 0 && !math.IsInf(s.Value, 0) }

// counters are those of the program. They are saved by a drainer.
type counters struct {
	values *telemetry.Values

	mu   sync.Mutex
	kept map[string]*kept
}

// A kept counter or vector.
type kept struct {
	prometheus.Collector
	others []series // that this version can't add
}

func (x *counters) keep(name string, c prometheus.Collector, add func(series) bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case x.kept == nil:
		x.kept = map[string]*kept{}
		autorestart.RegisterDrainer(saver{x})
	case x.kept[name] != nil:
		panic("autorestartprom: two counters are kept under the name " + name)
	}
	k := &kept{Collector: c}
	var saved []series
	if json.Unmarshal(x.values.Get(keyOf(name)), &saved) == nil {
		for _, s := range saved {
			if s.isValid() && !add(s) {
				k.others = append(k.others, s)
			}
		}
	}
	x.kept[name] = k
}

// keyOf returns the name of a value, which is never that of the tally.
func keyOf(name string) string { return "counter " + name }

func (x *counters) save() {
	x.mu.Lock()
	defer x.mu.Unlock()
	for name, k := range x.kept {
		if text, err := json.Marshal(append(k.series(), k.others...)); err == nil {
			x.values.Set(keyOf(name), text)
		}
	}
}

// series returns the counters with their values.
func (k *kept) series() (all []series) {
	metrics := make(chan prometheus.Metric)
	go func() {
		k.Collect(metrics)
		close(metrics)
	}()
	for metric := range metrics {
		var m dto.Metric
		if metric.Write(&m) != nil || m.Counter == nil {
			continue
		}
		s := series{map[string]string{}, m.Counter.GetValue()}
		for _, label := range m.Label {
			s.Labels[label.GetName()] = label.GetValue()
		}
		all = append(all, s)
	}
	return all
}

// A saver is the drainer that saves the counters when everything else has been drained.
type saver struct{ *counters }

// DrainOrder is the highest, so that the other drainers count what they finish.
func (saver) DrainOrder() int { return math.MaxInt }

// Quiesce saves the counters, because Drain may have no time.
func (s saver) Quiesce() { s.save() }

func (s saver) Drain(context.Context) error {
	s.save()
	return nil
}

func (saver) Resume() {}
