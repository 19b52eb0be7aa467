//go:build linux

package grpc

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart/benchmarks/internal/measure"
	"github.com/autorestart-go/autorestart/benchmarks/internal/table"
)

var (
	loads = table.Table{{"load", "restarts", "calls", "failed", "", "restart p50", "slowest"}}
	idles = table.Table{{"idle connections", "restarts", "p50 with none", "p50", "longer"}}
	cuts  = table.Table{{"streams that ignore their context", "restarts", "cancelled before the cut, at least"}}
)

func TestMain(m *testing.M) {
	code := m.Run()
	os.Stdout.WriteString("\n")
	for _, t := range []table.Table{loads, idles, cuts} {
		if err := t.Print(os.Stdout); err != nil {
			panic(err)
		}
	}
	os.Exit(code)
}

// full reports whether AUTORESTART_BENCH_FULL selects the full form.
func full() bool { return os.Getenv("AUTORESTART_BENCH_FULL") == "1" }

// sized returns a number of the short or of the full form.
func sized(short, long int) int {
	if full() {
		return long
	}
	return short
}

// BenchmarkLoad restarts servers whose clients make calls. The losses of the peers are reported, and have
// no limit.
func BenchmarkLoad(b *testing.B) {
	for b.Loop() {
		failed, err := measureLoad(b, ours, sized(30, 1000))
		if err != nil {
			b.Error(err)
		}
		if failed > 0 {
			b.Errorf("%d calls have failed", failed)
		}
		b.ReportMetric(float64(failed), "failed")
		for _, peer := range []struct {
			name     string
			restarts int
		}{{gracefulStop, sized(10, 200)}, {nothing, sized(1, 10)}} {
			if failed, err = measureLoad(b, peer.name, peer.restarts); err != nil {
				b.Logf("%s: %v", peer.name, err)
			}
			b.ReportMetric(float64(failed), "failed-"+peer.name)
		}
	}
	b.ReportMetric(0, "ns/op")
}

func measureLoad(b *testing.B, name string, restarts int) (failed int, err error) {
	var took []time.Duration
	err = with(b, name, 10*time.Second, func(r *run) error {
		l := startLoad(r.target)
		defer func() {
			l.end()
			var kinds string
			failed, kinds = l.failures()
			loads.Add(name, len(took), l.made(), failed, kinds, table.Median(took), table.Slowest(took))
		}()
		for range restarts {
			if err := l.awaitUnary(); err != nil {
				return err
			}
			d, err := r.restart()
			if err != nil {
				return err
			}
			took = append(took, d)
		}
		return l.awaitUnary()
	})
	return failed, err
}

// idleLimit is how much longer a restart with idle connections may take.
const idleLimit = 50 * time.Millisecond

// An idleResult has the times of restarts.
type idleResult struct{ with, without []time.Duration }

func (r *idleResult) longer() time.Duration { return table.Median(r.with) - table.Median(r.without) }

func (r *idleResult) Lost() error { return nil }

func (r *idleResult) Slow() error {
	if d := r.longer(); d > idleLimit {
		return fmt.Errorf("a restart with idle connections takes %v longer than one without, at most %v are allowed", d, idleLimit)
	}
	return nil
}

func BenchmarkIdleConnections(b *testing.B) {
	const conns = 50
	result := new(idleResult)
	for b.Loop() {
		measure.Check(b, func() (measure.Measurement, error) { // another attempt adds to the result
			return result, result.measure(b, conns, sized(10, 100))
		})
	}
	result.report(b, conns)
}

// BenchmarkManyIdleConnections has no limit: the clients of this process need most of the time.
func BenchmarkManyIdleConnections(b *testing.B) {
	if !full() {
		b.Skip("only in the full form")
	}
	const conns = 1000
	result := new(idleResult)
	for b.Loop() {
		if err := result.measure(b, conns, 10); err != nil {
			b.Fatal(err)
		}
	}
	result.report(b, conns)
}

func (r *idleResult) measure(b *testing.B, conns, restarts int) error {
	return with(b, ours, 10*time.Second, func(s *run) error { return r.run(s, conns, restarts) })
}

func (r *idleResult) report(b *testing.B, conns int) {
	idles.Add(conns, len(r.with), table.Median(r.without), table.Median(r.with), r.longer())
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(table.Milliseconds(r.longer()), "longer-ms")
}

func (r *idleResult) run(s *run, conns, restarts int) error {
	for range restarts {
		took, err := s.restart()
		if err != nil {
			return err
		}
		r.without = append(r.without, took)
		closeAll, err := connectIdle(s.target, conns)
		if err == nil {
			took, err = s.restart()
		}
		closeAll()
		if err != nil {
			return err
		}
		r.with = append(r.with, took)
	}
	return nil
}

const (
	// cutTimeout is the DrainTimeout where streams are cut. Their contexts are cancelled after half
	// of it.
	cutTimeout = 4 * time.Second

	// noticeLimit is how long before the cut the context of a stream is cancelled, at least.
	noticeLimit = time.Second
)

func BenchmarkStreams(b *testing.B) {
	streams, restarts := sized(20, 100), sized(2, 20)
	least := time.Duration(0)
	for b.Loop() {
		err := with(b, ours, cutTimeout, func(r *run) error {
			for range restarts {
				notice, err := r.cut(streams)
				if err != nil {
					return err
				}
				if least == 0 || notice < least {
					least = notice
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	if least < noticeLimit {
		b.Errorf("the context of a stream was cancelled %v before the cut, at least %v are required", least, noticeLimit)
	}
	cuts.Add(streams, restarts, least)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(table.Milliseconds(least), "notice-ms")
}
