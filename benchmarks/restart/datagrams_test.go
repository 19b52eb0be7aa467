//go:build linux

package restart

import (
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart/benchmarks/internal/servers"
	"github.com/autorestart-go/autorestart/benchmarks/internal/table"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// BenchmarkDatagrams sends 10,000 datagrams a second to an echo server.
func BenchmarkDatagrams(b *testing.B) {
	n, err := deployCount()
	if err != nil {
		b.Fatal(err)
	}
	program := servers.Build(b, servers.Ours)
	var s *stream
	var times []time.Duration
	var dropped int // by the kernel, whose buffers are full when no process runs for a while
	for b.Loop() {
		err := servers.With(servers.Ours, program, servers.TempDir(b), "udp", nil, func(p *servers.Process, address string) (err error) {
			if s, err = newStream(address); err != nil {
				return err
			}
			defer s.conn.Close()
			if err := s.during(func() error { return await(p, &s.sightings, anyVersion) }); err != nil {
				return err
			}
			drops := func() (n int) {
				for _, a := range []net.Addr{s.conn.LocalAddr(), s.conn.RemoteAddr()} {
					n += testprocess.DatagramDrops(b, a.(*net.UDPAddr).Port)
				}
				return n + testprocess.SoftnetDrops(b)
			}
			before := drops()
			err = s.during(func() (err error) {
				times, err = deployTimes(p, &s.sightings, min(n, maxDatagramDeploys))
				return err
			})
			dropped = drops() - before
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	if s.lost() > int64(dropped) {
		b.Errorf("lost %d of %d datagrams, of which the kernel has dropped %d", s.lost(), s.sent.Load(), dropped)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(len(times)), "restarts")
	b.ReportMetric(float64(s.sent.Load()), "sent")
	b.ReportMetric(float64(s.lost()), "lost")
	b.ReportMetric(table.Milliseconds(s.slowest), "slowest-ms")
	datagrams.Add(fmt.Sprintf("%d a second", datagramsPerSecond), len(times), s.sent.Load(), s.lost(), s.slowest, table.Median(times))
}
