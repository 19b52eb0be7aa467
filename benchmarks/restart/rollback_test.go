//go:build linux

package restart

import (
	"slices"
	"testing"
)

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
			slowest, deploy := slices.Max(append(r.times, 0)), median(r.deploys)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(milliseconds(slowest), "slowest-ms")
			b.ReportMetric(milliseconds(slowest-f.after), "slowest-less-timeout-ms")
			b.ReportMetric(float64(median(r.times)-f.after)/float64(deploy), "of-deploy")
			b.ReportMetric(float64(r.load.lost.total()), "lost")
			if len(r.times) < deploys {
				rollbacks.add(f.does, len(r.times)+1, "never", "never", deploy, r.load.lost.total())
				return
			}
			rollbacks.add(f.does, deploys, slowest, slowest-f.after, deploy, r.load.lost.total())
		})
	}
}
