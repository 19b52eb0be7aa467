//go:build linux

package streams

import (
	"fmt"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart/benchmarks/internal/measure"
	"github.com/autorestart-go/autorestart/benchmarks/internal/servers"
	"github.com/autorestart-go/autorestart/benchmarks/internal/table"
)

const (
	websockets = 1000
	silent     = 10
)

func TestMain(m *testing.M) {
	code := m.Run()
	os.Stdout.WriteString("\n")
	if err := results.Print(os.Stdout); err != nil {
		panic(err)
	}
	os.Exit(code)
}

func BenchmarkWebSockets(b *testing.B) {
	b.Run("alone", func(b *testing.B) { benchmark(b, "alone", false) })
	b.Run("overlap", func(b *testing.B) { benchmark(b, "Overlap", true) })
}

// restarts returns the number of restarts in a mode. One with Overlap has two drains.
func restarts(overlap bool) int {
	if isFull() {
		return 100
	}
	if overlap {
		return 2
	}
	return 4
}

func benchmark(b *testing.B, name string, overlap bool) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || limit.Cur < 2*websockets {
		b.Fatalf("%v; the limit of open files is %d, and %d are needed", err, limit.Cur, 2*websockets)
	}
	program := servers.Build(b, servers.Streams)
	var o *outcome
	for b.Loop() {
		measure.Check(b, func() (measure.Measurement, error) {
			o = &outcome{name: name, asked: grace}
			if overlap {
				o.asked += spread
			}
			args := []string{"-spread", spread.String(), "-grace", grace.String(), fmt.Sprint("-overlap=", overlap)}
			return o, servers.With(servers.Streams, program, servers.TempDir(b), "tcp", args, func(p *servers.Process, address string) error {
				return o.run(p, address, overlap)
			})
		})
	}
	if len(o.shares) == 0 {
		return // it has failed
	}
	o.print()
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(o.ended-o.frames), "no-close-frame")
	b.ReportMetric(table.Milliseconds(table.Slowest(o.drains)), "slowest-drain-ms")
}

// run restarts the server beside its clients.
func (o *outcome) run(p *servers.Process, address string, overlap bool) error {
	if err := awaitServer(address); err != nil {
		return err
	}
	c := openClients(address, websockets)
	defer c.close()
	const limit = time.Minute
	server, err := c.await(p.Version, websockets, limit)
	for range restarts(overlap) {
		if err != nil {
			return err
		}
		c.takeEnds()
		mute, errs := openMute(address)
		if errs != nil {
			return errs
		}
		if err := p.Deploy(""); err != nil {
			return err
		}
		next, err := c.await(p.Version, websockets, limit)
		for _, conn := range mute {
			conn.Close()
		}
		if err != nil {
			return err
		}
		if next.PID != p.PID() {
			return fmt.Errorf("PID %d has become %d", p.PID(), next.PID)
		}
		for from, ends := range c.takeEnds() {
			if from == server {
				o.addRestart(next.Drain, ends, overlap)
			} else {
				o.addEnds(ends, overlap) // those of the stand-in
			}
		}
		server = next
	}
	return err
}

// openMute opens the WebSockets whose clients do not read.
func openMute(address string) (conns []net.Conn, err error) {
	for range silent {
		conn, err := openSilent(address)
		if err != nil {
			return conns, err
		}
		conns = append(conns, conn)
	}
	return conns, nil
}

// awaitServer waits until the server listens.
func awaitServer(address string) (err error) {
	for range 1000 {
		conn, failed := net.Dial("tcp", address)
		if failed == nil {
			return conn.Close()
		}
		err = failed
		time.Sleep(10 * time.Millisecond)
	}
	return err
}
