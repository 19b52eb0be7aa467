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
				for attempt := 0; ; attempt++ {
					r = &rollback{fault: f}
					err := r.run(program, tempDir(b), deploys)
					if err == nil && r.lost() == nil && r.slow() != nil && attempt < retries {
						b.Log(r.slow())
						continue
					}
					for _, err := range []error{err, r.lost(), r.slow()} {
						if err != nil {
							b.Error(err)
						}
					}
					break
				}
			}
			slowest := slices.Max(append(r.times, 0))
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(milliseconds(slowest), "slowest-ms")
			b.ReportMetric(milliseconds(slowest-f.after), "slowest-less-timeout-ms")
			b.ReportMetric(float64(r.load.lost.total()), "lost")
			if len(r.times) < deploys {
				rollbacks.add(f.does, len(r.times)+1, "never", "never", r.load.lost.total())
				return
			}
			rollbacks.add(f.does, deploys, slowest, slowest-f.after, r.load.lost.total())
		})
	}
}
