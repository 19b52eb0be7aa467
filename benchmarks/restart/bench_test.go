//go:build linux

package restart

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	code := m.Run()
	os.Stdout.WriteString("\n")
	for _, t := range []table{requests, datagrams, rollbacks} {
		if err := t.print(os.Stdout); err != nil {
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
			for _, s := range servers {
				c := &comparison{mode: m, network: network, server: s}
				b.Run(m.name+"/"+network+"/"+s.name, func(b *testing.B) { c.benchmark(b, n) })
			}
		}
	}
}

// retries is how often a run is repeated that was too slow but lost nothing:
// machines have moments in which no process runs.
const retries = 2

// A measurement has limits. Its methods return an error if one is exceeded.
type measurement interface {
	lost() error
	slow() error
}

// measure fails the benchmark unless the measurement that run makes is within its
// limits.
func measure(b *testing.B, run func() (measurement, error)) {
	b.Helper()
	m, err := run()
	for range retries {
		if err != nil || m.lost() != nil || m.slow() == nil {
			break
		}
		b.Log(m.slow())
		time.Sleep(time.Second) // such a moment may last longer than a run
		m, err = run()
	}
	for _, err := range []error{err, m.lost(), m.slow()} {
		if err != nil {
			b.Error(err)
		}
	}
}

func (c *comparison) benchmark(b *testing.B, n int) {
	if c.network == "unix" && !c.server.unix {
		requests.add(c.mode.name, c.network, c.server.name, "n/a", "", "", "", "", "", "", "")
		b.Skip("n/a")
	}
	program := build(b, c.server)
	for b.Loop() {
		run := func() (measurement, error) { return c, c.run(program, tempDir(b), n) }
		if c.server.strict {
			measure(b, run)
		} else if _, err := run(); err != nil {
			b.Log(err)
		}
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(len(c.deploys)), "restarts")
	b.ReportMetric(c.deploying.perSecond(), "requests/s")
	b.ReportMetric(float64(c.deploying.lost.total()), "lost")
	b.ReportMetric(float64(c.deploying.resent), "resent")
	b.ReportMetric(milliseconds(c.deploying.slowest()), "slowest-ms")
	b.ReportMetric(milliseconds(c.quiet.slowest()), "quiet-slowest-ms")
	requests.add(c.mode.name, c.network, c.server.name, len(c.deploys), int(c.deploying.perSecond()),
		c.deploying.lost.total(), c.deploying.resent, c.deploying.slowest(), c.quiet.slowest(),
		median(c.deploys), c.kindsOfLoss())
}

var programs = make(map[*server][]byte)

// build returns the executable of a server's daemon. It builds each one once.
func build(b *testing.B, s *server) []byte {
	b.Helper()
	if programs[s] == nil {
		path := filepath.Join(tempDir(b), s.dir)
		if out, err := exec.Command("go", "build", "-ldflags=-s -w", "-o", path, "./"+s.dir).CombinedOutput(); err != nil {
			b.Fatalf("%v\n%s", err, out)
		}
		program, err := os.ReadFile(path)
		if err != nil {
			b.Fatal(err)
		}
		programs[s] = program
	}
	return programs[s]
}

// tempDir is like b.TempDir, but short enough for a Unix socket's path.
func tempDir(b *testing.B) string {
	b.Helper()
	dir, err := os.MkdirTemp("", "restart")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			b.Error(err)
		}
	})
	return dir
}
