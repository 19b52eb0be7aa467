//go:build linux

package restart

import "testing"

// BenchmarkRollback deploys versions that never answer.
func BenchmarkRollback(b *testing.B) {
	const deploys = 5
	for _, f := range faults {
		b.Run(f.name, func(b *testing.B) {
			program := build(b, ours)
			var r *rollback
			for b.Loop() {
				measure(b, func() (measurement, error) {
					r = &rollback{fault: f}
					return r, r.run(program, tempDir(b), deploys)
				})
			}
			took, deploy := slowest(r.times), slowest(r.deploys)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(milliseconds(took), "slowest-ms")
			b.ReportMetric(milliseconds(took-f.after), "slowest-less-timeout-ms")
			b.ReportMetric(milliseconds(deploy), "slowest-deploy-ms")
			b.ReportMetric(float64(r.load.lost.total()), "lost")
			if len(r.times) < deploys {
				rollbacks.add(f.does, len(r.times)+1, "never", "never", deploy, r.load.lost.total())
				return
			}
			rollbacks.add(f.does, deploys, took, took-f.after, deploy, r.load.lost.total())
		})
	}
}
