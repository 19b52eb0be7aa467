// Package simulation runs the random schedules of simulated kernels, each of which is repeated
// by its seed.
package simulation

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/autorestart-go/autorestart/internal/testprocess"
)

const (
	schedulesEnv = "AUTORESTART_TEST_SCHEDULES"
	seedEnv      = "AUTORESTART_TEST_SEED"
)

// A Schedule is one run of a simulation: what happens, and in which order, follows from the
// seed alone. It is in a bubble of package synctest. One goroutine at a time may use it.
type Schedule struct {
	*rand.Rand
	Seed  uint64
	Start time.Time // by the clock of the bubble

	tracing bool
	trace   []string
	failure string
}

// failed ends a schedule.
type failed struct{}

// Tracef notes what happens, for those who read a failure. It must not draw a random number.
func (s *Schedule) Tracef(format string, args ...any) {
	if s.tracing {
		s.trace = append(s.trace, fmt.Sprintf("%14v  ", time.Since(s.Start))+fmt.Sprintf(format, args...))
	}
}

// Failf ends the schedule: it has found a fault. The calling goroutine has to be that of the
// schedule.
func (s *Schedule) Failf(format string, args ...any) {
	s.failure = fmt.Sprintf(format, args...)
	panic(failed{})
}

// Chance reports true in one of n cases.
func (s *Schedule) Chance(n int) bool { return s.IntN(n) == 0 }

// Duration returns one from 0 to d, of which no two are likely to be equal.
func (s *Schedule) Duration(d time.Duration) time.Duration { return time.Duration(s.Int64N(int64(d))) }

// Run runs a test by the number of schedules that AUTORESTART_TEST_SCHEDULES says, with the
// seeds from 1, or by the one seed that AUTORESTART_TEST_SEED says. If that is not set, it is the
// given number of schedules, a tenth of it with -short. A schedule that fails runs again and is
// printed.
func Run(t *testing.T, schedules int, run func(*testing.T, *Schedule)) {
	if seed := testprocess.FromEnv(t, seedEnv, 0); seed != 0 {
		s := runSeed(t, uint64(seed), true, run)
		t.Log("the schedule:\n" + strings.Join(s.trace, "\n"))
		if s.failure != "" {
			t.Error(s.failure)
		}
		return
	}
	if testing.Short() {
		schedules /= 10
	}
	last := uint64(testprocess.FromEnv(t, schedulesEnv, schedules))
	start := time.Now()
	t.Cleanup(func() { t.Logf("%d schedules in %v", last, time.Since(start).Round(time.Millisecond)) })
	var begun atomic.Uint64
	for worker := range runtime.GOMAXPROCS(0) {
		t.Run(fmt.Sprint(worker+1), func(t *testing.T) {
			t.Parallel()
			for seed := begun.Add(1); seed <= last && !t.Failed(); seed = begun.Add(1) {
				if s := runSeed(t, seed, false, run); s.failure != "" {
					begun.Store(last) // the others have found enough, too
					report(t, s, runSeed(t, seed, true, run))
				}
			}
		})
	}
}

// Repeats reports where two runs of a seed differ.
func Repeats(t *testing.T, seeds int, run func(*testing.T, *Schedule)) {
	for seed := range uint64(seeds) {
		first, second := runSeed(t, seed+1, true, run), runSeed(t, seed+1, true, run)
		for i := range max(len(first.trace), len(second.trace)) {
			if a, b := first.line(i), second.line(i); a != b {
				t.Fatalf("seed %d: %q in one run, %q in another", seed+1, a, b)
			}
		}
	}
}

func (s *Schedule) line(i int) string {
	if i >= len(s.trace) {
		return "the end"
	}
	return s.trace[i]
}

// shownLines are those of a schedule that a failure shows. The replay shows all.
const shownLines = 60

func report(t *testing.T, s, again *Schedule) {
	t.Errorf("schedule %d: %s", s.Seed, s.failure)
	if s.failure != again.failure {
		t.Errorf("it does not repeat: %q the second time", again.failure)
	}
	t.Logf("to repeat it: %s=%d go test -v -run '^%s$' %s", seedEnv, s.Seed, testName(t), packageFolder())
	t.Log("the end of it:\n" + strings.Join(again.trace[max(0, len(again.trace)-shownLines):], "\n"))
}

// packageFolder is the folder of the package that is tested, below that of the module: go test
// runs each test in it.
func packageFolder() string {
	dir, _ := os.Getwd()
	for root := dir; ; root = filepath.Dir(root) {
		if _, err := os.Stat(filepath.Join(root, "go.mod")); err == nil {
			return "." + strings.TrimPrefix(dir, root)
		}
		if root == filepath.Dir(root) {
			return "."
		}
	}
}

// testName is that of the test, without the worker.
func testName(t *testing.T) string {
	name, _, _ := strings.Cut(t.Name(), "/")
	return name
}

// runSeed runs a schedule. A panic is a fault like any other.
func runSeed(t *testing.T, seed uint64, tracing bool, run func(*testing.T, *Schedule)) *Schedule {
	s := &Schedule{Rand: rand.New(rand.NewPCG(seed, 0)), Seed: seed, tracing: tracing}
	synctest.Test(t, func(t *testing.T) {
		s.Start = time.Now()
		defer func() {
			switch p := recover(); p.(type) {
			case nil, failed:
			default:
				s.failure = fmt.Sprintf("panic: %v\n%s", p, debug.Stack())
			}
		}()
		run(t, s)
	})
	return s
}
