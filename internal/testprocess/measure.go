package testprocess

import (
	"runtime"
	"slices"
	"time"
)

// Quantile returns the smallest duration that at least the part q of all, from 0 to
// 1, does not exceed.
func Quantile(took []time.Duration, q float64) time.Duration {
	sorted := slices.Sorted(slices.Values(took))
	return sorted[int(q*float64(len(sorted)-1))]
}

// Microseconds returns d as benchmarks report it.
func Microseconds(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// Allocated returns the bytes that f allocates, freed ones included. Those of other
// goroutines count, too.
func Allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}
