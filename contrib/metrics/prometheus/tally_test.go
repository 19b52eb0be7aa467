package autorestartprom

import (
	"encoding/json"
	"math"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/autorestarttest"
	"github.com/autorestart-go/autorestart/internal/telemetry"
)

// What another version of this package has counted, and what is damaged.
func TestTallyOfOtherVersion(t *testing.T) {
	old := newTally(nil)
	old.Restarts[telemetry.Ready] = 5
	old.Duration.observe(2 * time.Second)
	same, err := json.Marshal(old)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		text      string
		readies   uint64
		durations uint64
	}{
		"the same":         {string(same), 5, 1},
		"nothing":          {"", 0, 0},
		"no JSON":          {"\x00\xff{", 0, 0},
		"cut":              {string(same[:len(same)-1]), 0, 0},
		"another type":     {`[1, 2]`, 0, 0},
		"a negative count": {`{"Restarts":{"ready":-1}}`, 0, 0},
		"null":             {`{"Restarts":null,"Phases":{"judged":null},"Duration":null}`, 0, 0},
		"other buckets":    {`{"Restarts":{"ready":5},"Duration":{"Bounds":[1],"Counts":[3,4],"Sum":9}}`, 5, 0},
		"buckets missing":  {`{"Restarts":{"ready":5},"Duration":{"Bounds":[],"Counts":[],"Sum":9}}`, 5, 0},
		"new names":        {`{"Restarts":{"ready":5,"postponed":7},"Phases":{"rested":{"Bounds":[1],"Counts":[3,4],"Sum":9}},"More":[1]}`, 5, 0},
	} {
		t.Run(name, func(t *testing.T) {
			tally := newTally([]byte(tt.text))
			var durations uint64
			for _, n := range tally.Duration.Counts {
				durations += n
			}
			if got := tally.Restarts[telemetry.Ready]; got != tt.readies || durations != tt.durations {
				t.Errorf("%d restarts and %d durations, want %d and %d", got, durations, tt.readies, tt.durations)
			}
			if len(tally.Phases) != len(telemetry.Phases)-1 {
				t.Errorf("%d phases", len(tally.Phases))
			}
			tally.add(autorestart.Event{Kind: autorestart.EventStarted, Generation: 1})
			tally.add(autorestart.Event{Kind: autorestart.EventReady, Generation: 1})
			if got := tally.Restarts[telemetry.Ready]; got != tt.readies+1 {
				t.Errorf("%d restarts after another one, want %d", got, tt.readies+1)
			}
			c := &Collector{tally: tally}
			if problems, err := testutil.CollectAndLint(c); err != nil || problems != nil {
				t.Errorf("got %v, %v; want metrics without problems", problems, err)
			}
		})
	}
}

// The duration of a restart has no part in which the version waited for the Gate, which may take hours.
func TestDurationWithGate(t *testing.T) {
	seen := time.Now()
	at := func(d time.Duration) time.Time { return seen.Add(d) }
	times := autorestart.RestartTimes{Seen: seen, Judged: at(time.Second), Ready: at(time.Hour + 3*time.Second)}
	tally := newTally(nil)
	for _, e := range []autorestart.Event{
		{Kind: autorestart.EventSeen, At: seen},
		{Kind: autorestart.EventWaiting, At: at(time.Second)},
		{Kind: autorestart.EventDraining, At: at(time.Hour + time.Second), Times: times},
		{Kind: autorestart.EventRestarting, At: at(time.Hour + 2*time.Second), Times: times},
		{Kind: autorestart.EventStarted, At: at(time.Hour + 3*time.Second), Times: times, Generation: 1},
		{Kind: autorestart.EventReady, At: at(time.Hour + 3*time.Second), Times: times, Generation: 1},
	} {
		tally.add(e)
	}
	if tally.Duration.Sum != 3 || tally.GateWait.Sum != 3600 {
		t.Errorf("a restart of %v s, after a wait of %v s; want 3 and 3600", tally.Duration.Sum, tally.GateWait.Sum)
	}
}

func TestHistogramBuckets(t *testing.T) {
	h := (*histogram)(nil).orNew([]float64{1, 2})
	for _, d := range []time.Duration{0, time.Second, 1500 * time.Millisecond, 2 * time.Second, time.Hour} {
		h.observe(d)
	}
	if h.Counts[0] != 2 || h.Counts[1] != 2 || h.Counts[2] != 1 || h.Sum != 3604.5 {
		t.Errorf("got %v", h)
	}
}

// Values that no counter can have, and text that is no list of values, don't stop the program.
func TestDamagedCounters(t *testing.T) {
	for name, text := range map[string]string{
		"no JSON":      "{{",
		"another type": `{"a": 1}`,
		"negative":     `[{"Labels":{"code":"200"},"Value":-1}]`,
		"no labels":    `[{"Value":3}]`,
		"null":         `null`,
	} {
		t.Run(name, func(t *testing.T) {
			autorestarttest.NewProcess(t)
			c := NewCollector()
			c.values.Set(keyOf("requests"), []byte(text))
			vec := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "requests_total"}, []string{"code"})
			c.KeepVec("requests", vec)
			if n := testutil.CollectAndCount(vec); n != 0 {
				t.Errorf("%d counters", n)
			}
			vec.WithLabelValues("200").Inc()
			c.counters.save()
			var saved []series
			if err := json.Unmarshal(c.values.Get(keyOf("requests")), &saved); err != nil || len(saved) == 0 || saved[0].Value != 1 {
				t.Errorf("saved %v, %v", saved, err)
			}
		})
	}
	for value, want := range map[float64]bool{0: true, 2.5: true, -1: false, math.Inf(1): false, math.NaN(): false} {
		if got := (series{Value: value}).isValid(); got != want {
			t.Errorf("%v is valid: %v", value, got)
		}
	}
}
