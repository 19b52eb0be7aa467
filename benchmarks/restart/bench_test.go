//go:build linux

package restart

import (
	"os"
	"testing"

	"github.com/autorestart-go/autorestart/benchmarks/internal/measure"
	"github.com/autorestart-go/autorestart/benchmarks/internal/servers"
	"github.com/autorestart-go/autorestart/benchmarks/internal/table"
)

// BenchmarkRequests compares all servers. The other tables are about this library alone.
var (
	compared = []*servers.Server{servers.Ours, servers.Tableflip, servers.Overseer, servers.Original}

	requests  = table.Table{{"requests", "socket", "server", "restarts", "requests/s", "lost", "resent", "slowest", "without deploys", "deploy to answer", "kinds of loss"}}
	datagrams = table.Table{{"datagrams", "restarts", "sent", "lost", "slowest echo", "deploy to echo"}}
	rollbacks = table.Table{{"a version that", "deploys", "until the one before answers", "less ReadyTimeout", "slowest deploy to answer", "lost"}}
)

func TestMain(m *testing.M) {
	code := m.Run()
	os.Stdout.WriteString("\n")
	for _, t := range []table.Table{requests, datagrams, rollbacks} {
		if err := t.Print(os.Stdout); err != nil {
			panic(err)
		}
	}
	os.Exit(code)
}

func BenchmarkRequests(b *testing.B) {
	n, err := deployCount()
	if err != nil {
		b.Fatal(err)
	}
	for _, m := range modes {
		for _, network := range []string{"tcp", "unix"} {
			for _, s := range compared {
				c := &comparison{mode: m, network: network, server: s}
				b.Run(m.name+"/"+network+"/"+s.Name, func(b *testing.B) { c.benchmark(b, n) })
			}
		}
	}
}

func (c *comparison) benchmark(b *testing.B, n int) {
	if c.network == "unix" && !c.server.Unix {
		requests.Add(c.mode.name, c.network, c.server.Name, "n/a", "", "", "", "", "", "", "")
		b.Skip("n/a")
	}
	program := servers.Build(b, c.server)
	for b.Loop() {
		run := func() (measure.Measurement, error) { return c, c.run(program, servers.TempDir(b), n) }
		if c.server.Strict {
			measure.Check(b, run)
		} else if _, err := run(); err != nil {
			b.Log(err)
		}
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(len(c.deploys)), "restarts")
	b.ReportMetric(c.deploying.perSecond(), "requests/s")
	b.ReportMetric(float64(c.deploying.lost.Total()), "lost")
	b.ReportMetric(float64(c.deploying.resent), "resent")
	b.ReportMetric(table.Milliseconds(c.deploying.slowest()), "slowest-ms")
	b.ReportMetric(table.Milliseconds(c.quiet.slowest()), "quiet-slowest-ms")
	requests.Add(c.mode.name, c.network, c.server.Name, len(c.deploys), int(c.deploying.perSecond()),
		c.deploying.lost.Total(), c.deploying.resent, c.deploying.slowest(), c.quiet.slowest(),
		table.Median(c.deploys), c.kindsOfLoss())
}
