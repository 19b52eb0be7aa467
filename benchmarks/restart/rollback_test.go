//go:build linux

package restart

import (
	"testing"

	"github.com/autorestart-go/autorestart/benchmarks/internal/measure"
	"github.com/autorestart-go/autorestart/benchmarks/internal/servers"
	"github.com/autorestart-go/autorestart/benchmarks/internal/table"
)

// BenchmarkRollback deploys versions that never answer.
func BenchmarkRollback(b *testing.B) {
	const deploys = 5
	for _, f := range faults {
		b.Run(f.name, func(b *testing.B) {
			program := servers.Build(b, servers.Ours)
			var r *rollback
			for b.Loop() {
				measure.Check(b, func() (measure.Measurement, error) {
					r = &rollback{fault: f}
					return r, r.run(program, servers.TempDir(b), deploys)
				})
			}
			took, deploy := table.Slowest(r.times), table.Slowest(r.deploys)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(table.Milliseconds(took), "slowest-ms")
			b.ReportMetric(table.Milliseconds(took-f.after), "slowest-less-timeout-ms")
			b.ReportMetric(table.Milliseconds(deploy), "slowest-deploy-ms")
			b.ReportMetric(float64(r.load.lost.Total()), "lost")
			if len(r.times) < deploys {
				rollbacks.Add(f.does, len(r.times)+1, "never", "never", deploy, r.load.lost.Total())
				return
			}
			rollbacks.Add(f.does, deploys, took, took-f.after, deploy, r.load.lost.Total())
		})
	}
}
