//go:build linux

package overlap

import (
	"errors"
	"os"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart/benchmarks/internal/measure"
	"github.com/autorestart-go/autorestart/benchmarks/internal/servers"
	"github.com/autorestart-go/autorestart/benchmarks/internal/table"
	"github.com/autorestart-go/autorestart/benchmarks/internal/trailer"
)

func TestMain(m *testing.M) {
	code := m.Run()
	os.Stdout.WriteString("\n")
	for _, t := range []table.Table{results, moments, costs} {
		if err := t.Print(os.Stdout); err != nil {
			panic(err)
		}
	}
	os.Exit(code)
}

var both = []*servers.Server{servers.Ours, servers.Tableflip}

// BenchmarkLongStart has phases that are as long as requests may be.
func BenchmarkLongStart(b *testing.B) {
	s := newSettings()
	compare(b, s.runs, &load{name: "long start", deploys: s.deploys, start: s.start, slow: s.slow, drain: 3 * s.slow, timed: true}, both...)
}

func BenchmarkDeploysInARow(b *testing.B) {
	s := newSettings()
	compare(b, 1, &load{name: "deploys in a row", deploys: s.quickDeploys, drain: 10 * time.Second, quick: true}, both...)
}

// failureDelay is when a version fails. Its process lives long enough to be noticed.
const failureDelay = 50 * time.Millisecond

// BenchmarkFailures deploys versions that do not become ready.
func BenchmarkFailures(b *testing.B) {
	s := newSettings()
	for _, f := range []struct{ does, name string }{
		{"panics in main", trailer.Panics},
		{"panics elsewhere", trailer.PanicsElsewhere},
		{"calls os.Exit", trailer.Exits},
		{"calls log.Fatal", trailer.Fatal},
		{"dies by SIGSEGV", trailer.Segfault},
		{"is never ready", trailer.Unready},
		{"hangs before main", trailer.HangsInInit},
	} {
		b.Run(f.does, func(b *testing.B) {
			compare(b, 1, &load{name: f.does, deploys: s.failures, fault: f.name, start: failureDelay, drain: 10 * time.Second, timed: true}, both...)
		})
	}
}

func BenchmarkIdleConnections(b *testing.B) {
	s := newSettings()
	compare(b, 1, &load{name: "idle connections", deploys: s.idleDeploys, drain: 10 * time.Second, timed: true, kept: &idleConns{n: s.idle}}, both...)
}

// BenchmarkNewerVersion deploys a version while the program is drained for the one before, whose
// stand-in has got the idle connections.
func BenchmarkNewerVersion(b *testing.B) {
	s := newSettings()
	compare(b, 1, &load{name: "newer version", deploys: s.deploys + 1, start: s.start, slow: 2 * s.slow, drain: 6 * s.slow, newer: true, timed: true, kept: &idleConns{n: s.idle}}, servers.Ours)
}

func BenchmarkHijackedConnections(b *testing.B) {
	s := newSettings()
	compare(b, 1, &load{name: "hijacked connections", deploys: s.hijackDeploys, drain: s.drainTimeout, kept: &hijackedConns{n: s.hijacked}}, both...)
}

// compare runs a load for the servers in turns. It fails for what this library may not do.
func compare(b *testing.B, runs int, l *load, compared ...*servers.Server) {
	var outcomes []*outcome
	for _, s := range compared {
		outcomes = append(outcomes, newOutcome(l, s))
	}
	for b.Loop() {
		measure.Check(b, func() (measure.Measurement, error) { // another attempt adds to the outcomes
			var failure error
			for range runs {
				for _, o := range outcomes {
					failure = errors.Join(failure, o.run(b))
				}
			}
			return outcomes[0], failure
		})
	}
	for _, o := range outcomes {
		o.print()
	}
	ours := outcomes[0]
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(ours.deploys), "deploys")
	b.ReportMetric(float64(ours.lost.Total()), "lost")
	b.ReportMetric(table.Milliseconds(ours.slower()), "slower-ms")
}

// run runs the load once. It returns an error only for a server with limits.
func (o *outcome) run(b *testing.B) error {
	err := o.load.run(o.server, servers.Build(b, o.server), servers.TempDir(b), o)
	if err == nil {
		return nil
	}
	o.failed = true
	if o.server.Strict {
		return err
	}
	b.Log(o.server.Name, err)
	return nil
}
