//go:build linux

package http3

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart/benchmarks/internal/measure"
	"github.com/autorestart-go/autorestart/benchmarks/internal/table"
	. "github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// fullEnv selects the full form.
const fullEnv = "AUTORESTART_BENCH_FULL"

// An outcome is that of all restarts of one server.
type outcome struct {
	server   string
	clients  int
	answers  int64
	failed   int64
	failure  error
	restarts []time.Duration // from the beginning of the drain until the new version is ready
	gaps     []time.Duration // of all clients in all restarts
}

// Lost implements [measure.Measurement].
func (o *outcome) Lost() error {
	if o.failed > 0 {
		return fmt.Errorf("%d of %d requests failed, the first with: %w", o.failed, o.answers+o.failed, o.failure)
	}
	return nil
}

// maxGap is 2 round trips, and less than one more for the machine.
const maxGap = 3 * roundTrip

// Slow implements [measure.Measurement].
func (o *outcome) Slow() error {
	if gap := table.Slowest(o.gaps); gap >= maxGap {
		return fmt.Errorf("a client was served %v after the new version was ready, want less than %v", gap, maxGap)
	}
	return nil
}

// BenchmarkRestart restarts a server while clients send requests.
func BenchmarkRestart(b *testing.B) {
	clients, restarts := 50, 5
	if os.Getenv(fullEnv) == "1" {
		clients, restarts = 100, 100
	}
	var ours, plain *outcome
	for b.Loop() {
		measure.Check(b, func() (measure.Measurement, error) {
			ours = run(b, "quicserve", clients, restarts)
			return ours, nil
		})
		plain = run(b, "plain", 10, 2)
	}
	results := table.Table{{"server", "restarts", "clients", "requests", "failed", "restart, median", "gap, median", "gap, longest", "in round trips"}}
	for _, o := range []*outcome{ours, plain} {
		longest := table.Slowest(o.gaps)
		results.Add(o.server, len(o.restarts), o.clients, o.answers+o.failed, o.failed, table.Median(o.restarts), table.Median(o.gaps), longest, fmt.Sprintf("%.1f", float64(longest)/float64(roundTrip)))
	}
	if err := results.Print(os.Stdout); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(ours.failed), "failed")
	b.ReportMetric(float64(table.Slowest(ours.gaps))/float64(roundTrip), "round-trips")
}

// run restarts the daemon with the given name.
func run(b *testing.B, name string, n, restarts int) *outcome {
	d := Start(b, name)
	address := d.Want("address")
	d.Want("ready")
	cs, err := startClients(n, address)
	if err != nil {
		b.Fatal(err)
	}
	defer cs.stop()
	o := &outcome{server: name, clients: n}
	awaitAll := func(generation int) (served []time.Time) {
		b.Helper()
		testprocess.WaitFor(b, fmt.Sprintf("two answers of generation %d to each client", generation), func() (all bool) {
			served, all = cs.servedBy(generation)
			return all
		})
		return served
	}
	awaitAll(0)
	for generation := 1; generation <= restarts; generation++ {
		time.Sleep(rand.N(roundTrip)) // requests and answers are anywhere when the restart begins
		d.Restart()
		d.Want("address")
		var t times
		if err := json.Unmarshal([]byte(d.Want("ready")), &t); err != nil {
			b.Fatal(err)
		}
		o.restarts = append(o.restarts, t.Ready.Sub(t.Quiesced))
		for _, served := range awaitAll(generation) {
			o.gaps = append(o.gaps, served.Sub(t.Ready))
		}
	}
	o.answers, o.failed = cs.answers.Load(), cs.failed.Load()
	cs.mu.Lock()
	o.failure = cs.failure
	cs.mu.Unlock()
	d.CloseInput()
	return o
}
