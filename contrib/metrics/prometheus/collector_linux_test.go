package autorestartprom_test

import (
	"bufio"
	"context"
	"errors"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/expfmt"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/autorestarttest"
	autorestartprom "github.com/autorestart-go/autorestart/contrib/metrics/prometheus"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// all is a Collector that has counted one event of each kind.
func all(t *testing.T) *autorestartprom.Collector {
	t.Helper()
	autorestarttest.NewProcess(t)
	c := autorestartprom.NewCollector()
	at := time.Unix(1_700_000_000, 0)
	for kind := autorestart.EventSeen; kind.String() != "unknown"; kind++ {
		at = at.Add(time.Second)
		c.Observe(autorestart.Event{Kind: kind, At: at, Generation: 1})
	}
	c.Observe(autorestart.Event{Kind: autorestart.EventWaiting, At: at})
	return c
}

// The metrics are as promlint wants them, and have the names in the package documentation.
func TestMetricsFollowTheConventions(t *testing.T) {
	c := all(t)
	problems, err := testutil.CollectAndLint(c)
	if err != nil || len(problems) > 0 {
		t.Errorf("got %v, %v; want no problems", problems, err)
	}
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	var documented []string
	for _, m := range regexp.MustCompile(`(?m)^//\t(autorestart_[a-z_]+)`).FindAllStringSubmatch(string(doc), -1) {
		documented = append(documented, m[1])
	}
	slices.Sort(documented)
	if got := names(t, c); !slices.Equal(got, documented) {
		t.Errorf("metrics are\n%q, documented\n%q", got, documented)
	}
}

// names returns the names of all metrics that are collected.
func names(t *testing.T, c prometheus.Collector) (all []string) {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(c)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		all = append(all, family.GetName())
	}
	return all
}

// selector is a metric in PromQL, with a label or without.
var selector = regexp.MustCompile(`\b(autorestart_[a-z_]+)(?:\{([a-z]+)(?:=|!~)"([a-z_|]+)"\})?`)

// Each name of a metric in the rules for alerts, and each label in them, is one of the Collector.
func TestAlertsNameMetrics(t *testing.T) {
	var page string
	for _, name := range testprocess.Glob(t, "../../../docs/operate*.md") {
		page += string(testprocess.ReadFile(t, name))
	}
	c := all(t)
	text, err := testutil.CollectAndFormat(c, expfmt.TypeTextPlain, names(t, c)...)
	if err != nil {
		t.Fatal(err)
	}
	var checked int
	lines := bufio.NewScanner(strings.NewReader(page))
	for lines.Scan() {
		for _, m := range selector.FindAllStringSubmatch(lines.Text(), -1) {
			for value := range strings.SplitSeq(m[3], "|") {
				checked++
				want := m[1]
				if m[2] != "" {
					want += `{` + m[2] + `="` + value + `"`
				}
				if !strings.Contains("\n"+string(text), "\n"+want) {
					t.Errorf("no metric begins with %s", want)
				}
			}
		}
	}
	if checked < 10 {
		t.Errorf("only %d metrics are named", checked)
	}
}

// The time of a wait for the Gate counts when the wait ends, whichever way.
func TestGateWait(t *testing.T) {
	for name, end := range map[string]autorestart.Event{
		"leave":            {Kind: autorestart.EventDraining},
		"refused":          {Kind: autorestart.EventRejected, Err: errors.New("no")},
		"a newer version":  {Kind: autorestart.EventSeen},
		"nothing to drain": {Kind: autorestart.EventRestarting},
	} {
		t.Run(name, func(t *testing.T) {
			autorestarttest.NewProcess(t)
			c := autorestartprom.NewCollector()
			at := time.Unix(1_700_000_000, 0)
			c.Observe(autorestart.Event{Kind: autorestart.EventSeen, At: at})
			c.Observe(autorestart.Event{Kind: autorestart.EventWaiting, At: at})
			c.Observe(autorestart.Event{Kind: autorestart.EventWaiting, At: at.Add(time.Second)})
			const waiting = "autorestart_gate_waiting_start_time_seconds"
			want := "# HELP " + waiting + " Time since which a restart waits for the Gate, since the Unix epoch. Absent if none waits.\n" +
				"# TYPE " + waiting + " gauge\n" + waiting + " 1.7e+09\n"
			if err := testutil.CollectAndCompare(c, strings.NewReader(want), waiting); err != nil {
				t.Error(err)
			}
			end.At = at.Add(90 * time.Second)
			c.Observe(end)
			if n := testutil.CollectAndCount(c, waiting); n != 0 {
				t.Errorf("after the wait there are %d metrics of it", n)
			}
			text, err := testutil.CollectAndFormat(c, expfmt.TypeTextPlain, "autorestart_gate_wait_seconds")
			if err != nil || !strings.Contains(string(text), "\nautorestart_gate_wait_seconds_sum 90\nautorestart_gate_wait_seconds_count 1\n") {
				t.Errorf("got %s, %v; want one wait of 90 s", text, err)
			}
		})
	}
}

// Counters of a program go on in the next version, with what its drainers have counted at last.
func TestKeepSavesAfterAllDrainers(t *testing.T) {
	p := autorestarttest.NewProcess(t)
	c := autorestartprom.NewCollector()
	jobs := prometheus.NewCounter(prometheus.CounterOpts{Name: "jobs_total"})
	c.Keep("jobs", jobs)
	jobs.Add(2.5)
	autorestart.RegisterDrainer(lastJob{jobs})
	p.Restart(nil)
	next := prometheus.NewCounter(prometheus.CounterOpts{Name: "jobs_total"})
	autorestartprom.NewCollector().Keep("jobs", next)
	if got := testutil.ToFloat64(next); got != 3.5 {
		t.Errorf("got %v, want 3.5", got)
	}
}

// A lastJob counts one more job while it is drained.
type lastJob struct{ prometheus.Counter }

func (lastJob) DrainOrder() int               { return 1000 }
func (lastJob) Quiesce()                      {}
func (lastJob) Resume()                       {}
func (j lastJob) Drain(context.Context) error { j.Inc(); return nil }

// What becomes of a vector whose labels are others in the next version.
func TestKeptVectorWithOtherLabels(t *testing.T) {
	vec := func(constant prometheus.Labels, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "requests_total", Help: "Requests.", ConstLabels: constant}, labels)
	}
	const head = "# HELP requests_total Requests.\n# TYPE requests_total counter\n"
	for name, tt := range map[string]struct {
		next *prometheus.CounterVec
		want string
	}{
		"the same": {
			vec(nil, "code", "method"),
			head + `requests_total{code="200",method="GET"} 1` + "\n" + `requests_total{code="200",method="POST"} 2` + "\n",
		},
		"in another order": {
			vec(nil, "method", "code"),
			head + `requests_total{code="200",method="GET"} 1` + "\n" + `requests_total{code="200",method="POST"} 2` + "\n",
		},
		"with a constant label": {
			vec(prometheus.Labels{"service": "api"}, "code", "method"),
			head + `requests_total{code="200",method="GET",service="api"} 1` + "\n" + `requests_total{code="200",method="POST",service="api"} 2` + "\n",
		},
		"one less":  {vec(nil, "code"), head + `requests_total{code="200"} 3` + "\n"},
		"one more":  {vec(nil, "code", "method", "host"), ""},
		"two other": {vec(nil, "path", "host"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			p := autorestarttest.NewProcess(t)
			first := vec(nil, "code", "method")
			autorestartprom.NewCollector().KeepVec("requests", first)
			first.WithLabelValues("200", "GET").Inc()
			first.WithLabelValues("200", "POST").Add(2)
			p.Restart(&autorestart.Restarter{ReadyTimeout: time.Minute})
			autorestartprom.NewCollector().KeepVec("requests", tt.next)
			if err := testutil.CollectAndCompare(tt.next, strings.NewReader(tt.want)); err != nil {
				t.Error(err)
			}
			p.RollBack(errors.New("other labels"))
			again := vec(nil, "code", "method")
			autorestartprom.NewCollector().KeepVec("requests", again)
			if name == "one less" { // it does not have them any more
				return
			}
			if got := testutil.ToFloat64(again.WithLabelValues("200", "POST")); got != 2 {
				t.Errorf("after a rollback: got %v, want 2", got)
			}
		})
	}
}

// A name is that of one counter.
func TestKeepTwice(t *testing.T) {
	autorestarttest.NewProcess(t)
	c := autorestartprom.NewCollector()
	c.Keep("jobs", prometheus.NewCounter(prometheus.CounterOpts{Name: "jobs_total"}))
	defer func() {
		if text, _ := recover().(string); !strings.Contains(text, "under the name jobs") {
			t.Errorf("got panic %q", text)
		}
	}()
	c.Keep("jobs", prometheus.NewCounter(prometheus.CounterOpts{Name: "others_total"}))
}
