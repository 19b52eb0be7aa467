//go:build linux

package http3

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
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
	lost     int // requests that failed although they were answered
	failure  error
	dropped  int             // packets that the kernel has dropped, as a buffer was full
	restarts []time.Duration // from the beginning of the drain until the new version is ready
	gaps     []time.Duration // of all clients in all restarts
}

// Lost implements [measure.Measurement].
func (o *outcome) Lost() error {
	if o.lost > 0 {
		return fmt.Errorf("%d requests failed that were answered, of %d; the first of each kind of failure: %w", o.lost, o.answers+o.failed, o.failure)
	}
	return nil
}

// A limit is what the first server must reach.
type limit struct {
	gap    time.Duration // until a client is served: 2 round trips, and a part for the machine
	late   float64       // part of the gaps that may be as long as that or longer
	failed float64       // part of the requests that may fail without an answer
}

var (
	// quiet is for a machine that does nothing else.
	quiet = limit{gap: 5 * roundTrip / 2}

	// busy is for one on which single clients have to wait for a CPU, and may be too slow for the
	// goodbye.
	busy = limit{gap: 3 * roundTrip, late: 0.01, failed: 0.001}
)

// limits returns the limit of the form that is run.
func limits() limit {
	if isFull() {
		return quiet
	}
	return busy
}

func isFull() bool { return os.Getenv(fullEnv) == "1" }

// late counts the gaps that reach the limit.
func (o *outcome) late() (n int) {
	for _, gap := range o.gaps {
		if gap >= limits().gap {
			n++
		}
	}
	return n
}

// Slow implements [measure.Measurement].
func (o *outcome) Slow() error {
	limit := limits()
	if float64(o.failed) > limit.failed*float64(o.answers) {
		return fmt.Errorf("%d of %d requests failed, none of which was answered; the first of each kind of failure: %w", o.failed, o.answers+o.failed, o.failure)
	}
	if n := o.late(); float64(n) > limit.late*float64(len(o.gaps)) {
		return fmt.Errorf("%d of %d clients were served %v or more after the new version was ready, the last after %v", n, len(o.gaps), limit.gap, table.Slowest(o.gaps))
	}
	if gap := table.Median(o.gaps); gap >= quiet.gap {
		return fmt.Errorf("half of the clients were served %v or more after the new version was ready", gap)
	}
	return nil
}

// BenchmarkRestart restarts a server while clients send requests.
func BenchmarkRestart(b *testing.B) {
	clients, restarts := 50, 5
	if isFull() {
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
	results := table.Table{{"server", "restarts", "clients", "requests", "failed", "lost", "restart, median", "gap, median", "gap, longest", "in round trips", "late", "dropped packets"}}
	for _, o := range []*outcome{ours, plain} {
		longest := table.Slowest(o.gaps)
		results.Add(o.server, len(o.restarts), o.clients, o.answers+o.failed, o.failed, o.lost, table.Median(o.restarts), table.Median(o.gaps), longest, fmt.Sprintf("%.1f", float64(longest)/float64(roundTrip)), o.late(), o.dropped)
	}
	if err := results.Print(os.Stdout); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(ours.failed), "failed")
	b.ReportMetric(float64(ours.lost), "lost")
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
	_, port, _ := net.SplitHostPort(address)
	server, _ := strconv.Atoi(port)
	drops := func() (n int) {
		for _, c := range cs.list {
			n += testprocess.DatagramDrops(b, c.conn.LocalAddr().(*net.UDPAddr).Port)
		}
		return n + testprocess.DatagramDrops(b, server) + testprocess.SoftnetDrops(b)
	}
	before := drops()
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
	o.dropped = drops() - before
	o.answers, o.failed = cs.answers.Load(), cs.failed.Load()
	var done map[string]bool
	testprocess.WaitFor(b, "record of all answers", func() bool {
		done = answeredIn(string(testprocess.ReadFile(b, d.Path+answeredFile)))
		return len(done) >= int(o.answers)
	})
	cs.mu.Lock()
	o.failure = errors.Join(slices.Collect(maps.Values(cs.failures))...)
	for _, number := range cs.unanswered {
		if done[number] {
			o.lost++
		}
	}
	cs.mu.Unlock()
	d.CloseInput()
	return o
}

// answeredIn returns the numbers of the requests with these paths.
func answeredIn(paths string) map[string]bool {
	numbers := map[string]bool{}
	for line := range strings.Lines(paths) {
		if number, ok := strings.CutPrefix(strings.TrimSpace(line), "/"); ok {
			numbers[number] = true
		}
	}
	return numbers
}
