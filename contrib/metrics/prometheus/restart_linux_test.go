package autorestartprom_test

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/autorestart-go/autorestart/autorestarttest"
	. "github.com/autorestart-go/autorestart/internal/daemontest"
)

// A scraper scrapes the metrics of a daemon. Between two scrapes no counter may become smaller.
type scraper struct {
	t   *testing.T
	url string

	mu      sync.Mutex
	scrapes int
	last    map[string]float64
	missing []string // names, each once for each scrape that lacks it
}

func startScraped(t *testing.T, env ...string) (*Daemon, *scraper) {
	address := autorestarttest.FreeAddress(t)
	d := Start(t, "metrics", append(env, addressEnv+"="+address)...)
	return d, &scraper{t: t, url: "http://" + address, last: map[string]float64{}}
}

// scrape returns all values, by name and labels.
func (s *scraper) scrape() map[string]float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	var body io.ReadCloser
	WaitFor(s.t, "a listener", func() bool {
		response, err := http.Get(s.url + "/metrics")
		if err != nil && s.scrapes > 0 {
			s.t.Fatal(err)
		}
		if err == nil {
			body = response.Body
		}
		return err == nil
	})
	defer body.Close()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(body)
	if err != nil {
		s.t.Fatal(err)
	}
	s.scrapes++
	values := map[string]float64{}
	for _, family := range families {
		for _, m := range family.Metric {
			s.add(values, family, m)
		}
	}
	for name := range s.last {
		if _, ok := values[name]; !ok {
			s.missing = append(s.missing, name)
		}
	}
	return values
}

func (s *scraper) add(values map[string]float64, family *dto.MetricFamily, m *dto.Metric) {
	name := family.GetName()
	if len(m.Label) > 0 {
		var labels []string
		for _, label := range m.Label {
			labels = append(labels, fmt.Sprintf("%s=%q", label.GetName(), label.GetValue()))
		}
		name += "{" + strings.Join(labels, ",") + "}"
	}
	counter := func(name string, value float64) {
		values[name] = value
		if value < s.last[name] {
			s.t.Errorf("scrape %d: %s is %v after %v", s.scrapes, name, value, s.last[name])
		}
		s.last[name] = value
	}
	switch family.GetType() {
	case dto.MetricType_COUNTER:
		counter(name, m.Counter.GetValue())
	case dto.MetricType_HISTOGRAM:
		counter(name+" count", float64(m.Histogram.GetSampleCount()))
		counter(name+" sum", m.Histogram.GetSampleSum())
	default:
		values[name] = m.GetGauge().GetValue()
	}
}

// wait scrapes until a value is as given.
func (s *scraper) wait(name string, want float64) (values map[string]float64) {
	s.t.Helper()
	WaitFor(s.t, fmt.Sprintf("%s of %v", name, want), func() bool {
		values = s.scrape()
		return values[name] == want
	})
	return values
}

const outcome, reason = `autorestart_restarts_total{outcome=%q}`, `autorestart_rejections_total{reason=%q}`

// Counters go on over restarts, rollbacks at each stage, rejections, and restarts that are called off:
// nothing is counted twice, and nothing is lost.
func TestCountersGoOn(t *testing.T) {
	d, s := startScraped(t)
	s.scrape()
	counts := map[string]float64{}
	generation, version, running := 0, 1, 1
	started := func(want int) {
		generation++
		if got := d.NextStart().Version; got != want {
			t.Fatalf("version %d has started, want %d", got, want)
		}
	}
	restart := func() {
		version++
		d.Deploy()
		counts[fmt.Sprintf(outcome, "ready")]++
		started(version)
		running = version
	}
	fail := func(how string) {
		d.WantAnswer("fail "+how, "")
		version++
		d.Deploy()
		counts[fmt.Sprintf(outcome, "rolled_back")]++
		counts[fmt.Sprintf(reason, "failed")]++ // it stays at the path
		started(version)
		if how == unhealthy || how == keepsOther {
			s.scrape() // for which the version waits
		}
		started(running)
	}
	steps := []func(){
		func() { restart() },
		func() { fail(panics) },
		func() { fail(rollsBack) },
		func() { restart() },
		func() { fail(unhealthy) },
		func() { fail(keepsOther) },
		func() {
			d.DeployBytes([]byte("no program"))
			counts[fmt.Sprintf(reason, "format")]++
		},
		func() {
			d.WantAnswer("call-off", "")
			version++
			d.Deploy()
			counts[fmt.Sprintf(outcome, "called_off")]++
			counts[fmt.Sprintf(reason, "other")]++
		},
	}
	for range 3 {
		for _, step := range steps {
			step()
			for name, want := range counts {
				s.wait(name, want)
			}
		}
	}
	got := s.wait("autorestart_generation", float64(generation))
	readies := counts[fmt.Sprintf(outcome, "ready")]
	const requests = `http_requests_total{code="200",method="GET",service="test"}`
	want := map[string]float64{
		"autorestart_rolled_back": 1,
		"autorestart_ready":       1,
		requests:                  float64(s.scrapes - 1),
		"answered_total":          float64(s.scrapes - 1),
		"autorestart_restart_duration_seconds count": readies,
		phase("judged"):                         readies,
		phase("started"):                        readies,
		phase("ready"):                          readies,
		"autorestart_connections_cut_total":     0,
		"autorestart_unfinished_restarts_total": 0,
		fmt.Sprintf(outcome, "replaced"):        0,
	}
	maps.Copy(want, counts)
	for name, want := range want {
		if got[name] != want {
			t.Errorf("%s is %v, want %v", name, got[name], want)
		}
	}
	for name, value := range got {
		if strings.HasPrefix(name, "autorestart_rejections_total") && value != counts[name] {
			t.Errorf("%s is %v, want %v", name, value, counts[name])
		}
	}
	// On a busy machine, an exec may not wait until its last event is counted.
	if lost := got["autorestart_events_lost_total"]; lost > float64(generation) {
		t.Errorf("%v events are lost in %d execs", lost, generation)
	}
	// A version whose vector has another label begins anew. It does not keep the other versions from going on.
	if want := []string{requests, requests, requests}; !slices.Equal(s.missing, want) {
		t.Errorf("missing are %q, want %q", s.missing, want)
	}
}

func phase(name string) string {
	return fmt.Sprintf("autorestart_restart_phase_duration_seconds{phase=%q} count", name)
}

// The start of the image is that of the version that runs, while that of the process stays.
func TestImageStartTime(t *testing.T) {
	d, s := startScraped(t)
	const start = "autorestart_image_start_time_seconds"
	before := s.scrape()[start]
	d.Deploy()
	d.WantRestart(2)
	now := float64(time.Now().UnixNano()) / 1e9
	if after := s.scrape()[start]; before <= 0 || after <= before || after > now+1 {
		t.Errorf("started at %v, then at %v; now it is %v", before, after, now)
	}
}

// A restart that cuts off requests counts their connections. One that cuts off nothing counts none.
func TestConnectionsCut(t *testing.T) {
	d, s := startScraped(t, drainEnv+"=50ms")
	version := 1
	restart := func(clients int) (cut, restarts, lost float64) {
		before := s.scrape()
		for range clients {
			response, err := http.Get(s.url + "/slow")
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
		}
		version++
		d.Deploy()
		d.WantRestart(version)
		after := s.wait(fmt.Sprintf(outcome, "ready"), float64(version-1))
		more := func(name string) float64 { return after[name] - before[name] }
		return more("autorestart_connections_cut_total"), more("autorestart_unfinished_restarts_total"), more("autorestart_events_lost_total")
	}
	for _, clients := range []int{3, 0} {
		WaitFor(t, "a restart that loses no event", func() bool { // a busy machine may lose the last one
			cut, restarts, lost := restart(clients)
			if lost == 0 && (cut != float64(clients) || restarts != float64(min(clients, 1))) {
				t.Fatalf("%v connections were cut by %v restarts, want %d", cut, restarts, clients)
			}
			return lost == 0
		})
	}
}

// A version that is replaced before it is healthy counts, whether the next version is ready or has failed before
// it could report anything.
func TestReplacedVersions(t *testing.T) {
	d, s := startScraped(t)
	s.scrape()
	d.WantAnswer("fail "+undecided, "")
	d.Deploy()
	d.NextStart()
	s.wait("autorestart_ready", 1)
	d.Deploy()
	d.NextStart()
	s.wait(fmt.Sprintf(outcome, "ready"), 1)
	s.wait(fmt.Sprintf(outcome, "replaced"), 1)

	d.WantAnswer("fail "+undecided, "")
	d.Deploy()
	d.NextStart()
	s.wait("autorestart_generation", 3)
	s.wait("autorestart_ready", 1)
	d.WantAnswer("fail "+panics, "")
	d.Deploy()
	d.NextStart()
	if got := d.NextStart().Version; got != 3 {
		t.Errorf("version %d runs again, want 3: version 4 was still on trial", got)
	}
	want := map[string]float64{"ready": 1, "replaced": 2, "rolled_back": 1, "called_off": 0}
	for name, want := range want {
		s.wait(fmt.Sprintf(outcome, name), want)
	}
}

// With Overlap, a listener for metrics that a stand-in does not open loses no scrape, and the counters of the main process
// go on.
func TestCountersGoOnWithOverlap(t *testing.T) {
	d, s := startScraped(t, overlapEnv+"=1")
	s.scrape()
	for n := 1; n <= 3; n++ {
		d.Deploy()
		for started := false; !started; _, started = d.PendingStart() { // also while the stand-in serves
			s.scrape()
		}
		s.wait(fmt.Sprintf(outcome, "ready"), float64(n))
		s.wait("autorestart_generation", float64(n))
	}
	got := s.scrape()
	if got["answered_total"] != float64(s.scrapes-1) || got["autorestart_rolled_back"] != 0 || s.missing != nil {
		t.Errorf("%v of %d scrapes are counted, missing are %q", got["answered_total"], s.scrapes-1, s.missing)
	}
}

// The time of a wait for the Gate is part of neither the phases nor the duration.
func TestGate(t *testing.T) {
	d, s := startScraped(t, gateEnv+"=1")
	const since, waits = "autorestart_gate_waiting_start_time_seconds", "autorestart_gate_wait_seconds count"
	const waited = "autorestart_gate_wait_seconds sum"
	waiting := func() (at float64) {
		WaitFor(t, "a wait for the Gate", func() bool {
			at = s.scrape()[since]
			return at > 0
		})
		return at
	}
	s.scrape()
	d.Deploy()
	waiting()
	d.WantAnswer("answer all slots are taken", "")
	got := s.wait(fmt.Sprintf(reason, "gate"), 1)
	refused := got[waited]
	if _, ok := got[since]; ok || got[waits] != 1 || refused <= 0 {
		t.Errorf("without leave: waits since %v, %v waits of %v s", got[since], got[waits], refused)
	}
	d.Deploy()
	began := waiting()
	s.wait("autorestart_ready", 1) // the program serves on
	d.WantAnswer("answer", "")
	d.WantRestart(3)
	got = s.wait(fmt.Sprintf(outcome, "ready"), 1)
	var phases float64
	for name, value := range got {
		if strings.HasPrefix(name, "autorestart_restart_phase_duration_seconds{") && strings.HasSuffix(name, " sum") {
			phases += value
		}
	}
	wait, total := got[waited]-refused, got["autorestart_restart_duration_seconds sum"]
	if _, ok := got[since]; ok || got[waits] != 2 || wait <= 0 || phases > total+0.001 {
		t.Errorf("with leave: waits since %v, %v waits, the last one of %v s; phases of %v s in a restart of %v s", got[since], got[waits], wait, phases, total)
	}
	if started := got["autorestart_image_start_time_seconds"]; began <= 0 || began >= started {
		t.Errorf("waited since %v, the new version has started at %v", began, started)
	}
}
